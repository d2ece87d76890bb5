/** The tools that come with the app. All of them work without a network. */
import { calculate } from "./calculator.js";
import { LIMIT_MS, runPython } from "./run_python.js";

const MAX_HITS = 8;

const object = (properties, required) => ({ type: "object", properties, required });

export const calculator = {
  name: "calculator",
  harmless: true,
  description:
    "Works out arithmetic: + - * / ^ % ! brackets, sqrt sin cos ln log round min max, pi.",
  parameters: object({ expression: { type: "string", description: "e.g. (3 + 4) * 2^10" } },
    ["expression"]),
  run: ({ expression }) => String(calculate(expression)),
};

export const clock = {
  name: "clock",
  harmless: true,
  description: "Tells the date and the time now.",
  parameters: object({}, []),
  run() {
    const now = new Date();
    const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
    const local = now.toLocaleString("en-GB", { dateStyle: "full", timeStyle: "long" });
    return JSON.stringify({ local, zone, utc: now.toISOString() });
  },
};

export const python = {
  name: "python",
  description:
    "Runs a Python program without network or files. Returns what it prints and its last value.",
  parameters: object({ code: { type: "string", description: "the program" } }, ["code"]),
  limitMs: LIMIT_MS,
  run({ code }, { signal }) {
    if (typeof code !== "string" || !code.trim()) throw new Error("there is no code");
    return runPython(code, { signal });
  },
};

/**
 * @param {(query: string, found: (hits: Map<string, string>) => void, signal: AbortSignal)
 *   => Promise<void>} search fills excerpts by chat id
 * @param {(id: string) => string} titleOf a chat
 */
export function searchChats(search, titleOf) {
  return {
    name: "search_chats",
    description: "Looks for messages of earlier chats in which all the words occur.",
    parameters: object({ words: { type: "string", description: "one to three words" } }, ["words"]),
    async run({ words }, { signal }) {
      if (typeof words !== "string" || !words.trim()) throw new Error("there are no words");
      let hits = new Map();
      await search(words, (found) => (hits = found), signal);
      if (!hits.size) return "No chat has these words.";
      const shown = [...hits].slice(0, MAX_HITS);
      return JSON.stringify(shown.map(([id, excerpt]) => ({ chat: titleOf(id), excerpt })));
    },
  };
}
