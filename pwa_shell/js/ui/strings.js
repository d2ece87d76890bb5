/** Every text the page shows, by key: the one place a translation would replace. */
const TEXTS = {
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
  statusLoading: "Getting ready on this device",
  statusReady: "Runs on this device",
  statusBusy: "Answering on this device",
  statusFailed: "Not running",
  themeSystem: "Theme: system",
  themeLight: "Theme: light",
  themeDark: "Theme: dark",
  chatsOpen: "Show chats",
  chatsClose: "Hide chats",
  codeBlock: "Code block.",
  ready: "The model is ready.",
};

/** @param {keyof TEXTS} key @returns {string} */
export function t(key) {
  return TEXTS[key];
}

/** Names of the loading stages, in the order in which they are listed. */
export const STAGES = [
  ["boot", "Start Python"],
  ["read", "Read the model"],
  ["upload", "Upload to the GPU"],
  ["compile", "Compile for this GPU"],
  ["warmup", "Warm up"],
];

export const EXAMPLES = [
  ["Explain", "why the sky is blue, to a ten-year-old"],
  ["Draft", "a short, friendly email that moves a meeting to Friday"],
  ["Write", "a Python function that counts the words in a text"],
  ["Give me", "three ideas for a quick dinner with rice and eggs"],
];
