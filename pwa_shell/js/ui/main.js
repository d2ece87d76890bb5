/** Puts the page together. */
import { App } from "./app.js";
import { openChatStore } from "./chat_store.js";
import { EngineSession } from "./engine_session.js";
import "./install_guide.js"; // hears of the browser's offer to install, which may come early
import { openKeys } from "./keys_panel.js";
import { closeMenu } from "./menu.js";
import { chosenModel } from "./model_info.js";
import { listenForShortcuts } from "./shortcuts.js";
import { setUpLanguage } from "./strings.js";
import { setUpThemeButton } from "./theme.js";
import { setUpTools } from "./tools/setup.js";
import { setUpVoice } from "./voice/setup.js";
import { followVisualViewport } from "./viewport.js";

await setUpLanguage();
setUpThemeButton();
followVisualViewport();
const model = chosenModel();
const store = await openChatStore();
const app = new App(new EngineSession(model), store, model);
setUpTools(app);
setUpVoice(app);
listenForShortcuts({
  "new-chat": () => void app.go(null),
  search: () => app.sidebar.find(),
  settings: () => void app.extras.openSettings(),
  write: () => app.composer.area.focus(),
  dictate: () => app.voice.dictation.toggle(),
  help: () => openKeys(),
  sidebar: () => app.sidebar.toggle(),
  stop: () => closeMenu() || app.sidebar.close() || app.voice.stop() || app.stop() || app.leaveModels(),
});
await app.begin();
const { setUpBackground } = await import("./background.js");
setUpBackground(app.session);
const { followDevice } = await import("./device_notice.js");
followDevice(app);
const { DiagnosticsPanel } = await import("./diagnostics.js"); // nor is this
new DiagnosticsPanel(app.session);
const { setUpPwa } = await import("./pwa.js"); // nothing in it is needed to see the page or to chat
setUpPwa(app.session);
