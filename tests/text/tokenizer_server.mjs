// Serves pwa_shell/tokenizer.js to a test over JSON lines: node tokenizer_server.mjs <path of tokenizer.js>
// {open: text} -> facts; {call: name, args} -> {value}; an exception -> {error}.
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const { createTokenizer } = await import(pathToFileURL(process.argv[2]));
let tokenizer;

function answer({ open, config, call, args }) {
  if (open !== undefined) {
    tokenizer = createTokenizer(open, config);
    const { vocabSize, specialIds, decoderJson } = tokenizer;
    return { vocabSize, specialIds: Array.from(specialIds), decoderJson };
  }
  const value = tokenizer[call](...args);
  return { value: value instanceof Int32Array ? Array.from(value) : value };
}

for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  let reply;
  try { reply = answer(JSON.parse(line)); } catch (error) { reply = { error: String(error) }; }
  process.stdout.write(`${JSON.stringify(reply)}\n`);
}
