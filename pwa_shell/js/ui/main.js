/** Puts the page together. */
import { App } from "./app.js";
import { openChatStore } from "./chat_store.js";
import { EngineSession } from "./engine_session.js";
import { DEFAULT_MODEL } from "./model_info.js";
import { listenForShortcuts } from "./shortcuts.js";
import { setUpThemeButton } from "./theme.js";
import { followVisualViewport } from "./viewport.js";

setUpThemeButton();
followVisualViewport();
const store = await openChatStore();
const app = new App(new EngineSession(DEFAULT_MODEL), store, DEFAULT_MODEL);
listenForShortcuts({
  "new-chat": () => void app.go(null),
  sidebar: () => app.sidebar.toggle(),
  stop: () => app.sidebar.close() || app.stop(),
});
await app.begin();
