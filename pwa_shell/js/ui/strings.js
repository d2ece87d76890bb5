import { CHAT_TEXTS } from "./strings_chat.js";
import { MODEL_TEXTS } from "./strings_models.js";
import { SETTINGS_TEXTS } from "./strings_settings.js";

export { PROMPTS } from "./strings_settings.js";
import { TOOL_TEXTS } from "./strings_tools.js";

/** Every text the page shows, by key: the one place a translation would replace. */
const TEXTS = {
  ...MODEL_TEXTS,
  ...CHAT_TEXTS,
  ...SETTINGS_TEXTS,
  ...TOOL_TEXTS,
  appName: "Jird",
  tagline: "Private AI. Runs in this tab, nothing leaves your device.",
  code: "code",
  copy: "Copy",
  copied: "Copied",
  copyMessage: "Copy message",
  copyFailed: "This browser refused to copy.",
  task: "Task",
  image: "image",
  imageBlocked: "Images are not fetched, so that nothing leaves your device",
  you: "You said",
  assistant: "Jird said",
  retry: "Try again",
  start: "Start",
  restart: "Try again",
  reading: "Reading your question",
  waiting: "Waiting for the model",
  stopped: "Stopped",
  interrupted: "Interrupted by a reload",
  length: "Cut at the length limit",
  empty: "The model gave an empty answer.",
  untitled: "New chat",
  deleted: "Chat deleted",
  undo: "Undo",
  deleteChat: "Delete chat",
  noChats: "Your chats will be listed here. They are kept in this browser only.",
  notKept: "This browser keeps no data here, so chats will be gone when the tab closes.",
  saveFailed: "A chat could not be saved: this browser's storage refused it.",
  answering: "Answering in another chat",
  placeholder: "Ask anything",
  placeholderLoading: "Ask while it gets ready",
  firstToken: "to first token",
  tokens: "tokens",
  token: "token",
  statusIdle: "Runs on this device",
  statusLoading: "Getting ready",
  statusReady: "Runs on this device",
  statusBusy: "Answering",
  statusFailed: "Not running",
  themeSystem: "Theme: system",
  themeLight: "Theme: light",
  themeDark: "Theme: dark",
  chatsOpen: "Show chats",
  chatsClose: "Hide chats",
  codeBlock: "Code block.",
  ready: "The model is ready.",
  close: "Close",
  updateReady: "A new version is ready",
  updatedElsewhere: "Another tab has updated Jird",
  updateLater: "The new version starts when the answer in another tab is done.",
  reload: "Reload",
  later: "Later",
  privacyTitle: "Nothing you write leaves this device",
  privacyText:
    "Answers are worked out here. The network is asked only for Jird's own files, and for models " +
    "that you choose.",
  networkOn: "This site can be reached.",
  networkOff: "Offline: this site cannot be reached.",
  offlineReady: "Jird starts without a network.",
  offlinePreparing: "Jird is being stored, so that it starts without a network.",
  offlineInsecure: "Jird needs a network to start: this address is not secure (https).",
  offlineUnsupported: "Jird needs a network to start: this browser stores no pages.",
  offlineFailed: "Jird needs a network to start: it could not be stored. Free some space, then reload.",
  requestsOwn: "requests to this site",
  requestsTo: "to",
  requestsNoOther: "none to any other",
  requestStored: "from this device",
  install: "Install",
  installTitle: "Keep Jird at hand",
  installApple:
    "On the Home Screen it starts without a network, and Safari keeps its data. Elsewhere Safari " +
    "may delete what a site stored when it is not visited for a week.",
  installOther: "Installed, it starts without a network and in a window of its own.",
  installShareBefore: "Tap Share",
  installShare: "(it may be behind the ••• button)",
  installAdd: "Choose “Add to Home Screen”",
  installOpen: "Open Jird from there",
  installClose: "Do not show this again",
};

/**
 * @param {keyof TEXTS} key
 * @param {Record<string, any>} [facts] what stands for `{name}` in the text
 * @returns {string}
 */
export function t(key, facts) {
  if (!facts) return TEXTS[key];
  return TEXTS[key].replace(/\{(\w+)\}/g, (_, name) => String(facts[name]));
}

/** Names of the loading stages, in the order in which they are listed. */
export const STAGES = [
  ["boot", "Start Python"],
  ["read", "Read the model"],
  ["upload", "Upload to the GPU"],
  ["compile", "Compile for this GPU"],
];

export const EXAMPLES = [
  ["Explain", "why the sky is blue, to a ten-year-old"],
  ["Draft", "a short, friendly email that moves a meeting to Friday"],
  ["Write", "a Python function that counts the words in a text"],
  ["Give me", "three ideas for a quick dinner with rice and eggs"],
];
