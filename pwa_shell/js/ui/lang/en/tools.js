/** Texts of tools. */
export default {
  tools: "Tools",
  toolsLead:
    "What the model may call. Everything runs on this device. Small models call tools badly or " +
    "not at all.",
  toolName_calculator: "Calculator",
  toolHelp_calculator: "Works out arithmetic. It runs without asking.",
  toolName_clock: "Clock",
  toolHelp_clock: "Tells the date and the time. It runs without asking.",
  toolName_python: "Python",
  toolHelp_python:
    "Runs a program for up to 10 seconds, without network, files or chats. You are asked first.",
  toolName_search_chats: "Search my chats",
  toolHelp_search_chats: "Lets the model read excerpts of your other chats. You are asked first.",
  toolAlways: "Allowed in this chat",
  toolNever: "Refused in this chat",
  toolForget: "Ask again",
  toolAsk: "{name}: run it?",
  toolOnce: "Run once",
  toolAlwaysRun: "Always in this chat",
  toolRefuse: "Refuse",
  toolNeverRun: "Never in this chat",
  toolState_asking: "waits for you",
  toolState_running: "running",
  toolState_done: "done",
  toolState_error: "failed",
  toolState_refused: "refused",
  toolState_stopped: "stopped",
  toolArguments: "Arguments",
  toolResult: "Result",
  toolLimit: "The model called tools {count} times; it was asked to answer without them.",
};
