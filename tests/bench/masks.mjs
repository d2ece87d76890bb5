/**
 * Milliseconds of a mask along one answer, with XGrammar's own reading of a grammar and with our lookaheads.
 * node tests/bench/masks.mjs TOKENIZER.json [IDS]: of a byte-level BPE tokenizer, padded to IDS; needs dist/.
 */
import { readFileSync } from "node:fs";

const own = (path) => new URL(`../../${path}`, import.meta.url).href;
globalThis.location = { href: own("dist/vendor/xgrammar.js") };
const { GrammarHost } = await import(own("pwa_shell/grammar_core.js"));
const xgrammar = await import(location.href);
const write = (text) => process.stdout.write(`${text}\n`);
const ROUNDS = 9;
const SCHEMA = { type: "array", items: { type: "object", required: ["name", "age"], additionalProperties: false,
  properties: { name: { type: "string", maxLength: 12 }, age: { type: "integer" } } } };
const ANSWER = '[{"name": "John Smith", "age": 25}, {"name": "Mary Anne", "age": 30}]';

const { model, added_tokens = [] } = JSON.parse(readFileSync(process.argv[2]));
const tokens = Array(Number(process.argv[3] ?? 0)).fill("");
for (const [token, id] of Object.entries(model.vocab)) tokens[id] = token;
for (const { id } of added_tokens) tokens[id] = "";
const ids = new Map(tokens.map((token, id) => [token, id]));

/** Longest matches: not the tokenizer's own way, but tokens of its kind. */
function split(text) {
  const found = [];
  for (let rest = text.replaceAll(" ", "\u0120"); rest;) {
    let length = rest.length;
    while (!ids.get(rest.slice(0, length))) length--;
    found.push(ids.get(rest.slice(0, length)));
    rest = rest.slice(length);
  }
  return found;
}

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

async function measured(host) {
  await host.answer({ op: "table", tokens, stops: [0] });
  const question = { op: "start", kind: "json_schema", text: JSON.stringify(SCHEMA), strict: true, rules: {}, schemas: [] };
  const began = performance.now(), { matcher, error } = await host.answer(question);
  if (error) throw Error(error);
  const compiled = performance.now() - began, path = split(ANSWER), times = path.map(() => []);
  for (let round = 0; round < ROUNDS; round++) {
    for (const [i, token] of path.entries()) {
      const asked = performance.now(), { accepted } = await host.answer({ op: "step", matcher, token });
      times[i].push(performance.now() - asked);
      if (!accepted) throw Error(`${tokens[token]} was refused`);
    }
    await host.answer({ op: "rollback", matcher, count: path.length });
  }
  return { compiled, path, times: times.map(median) };
}

const plain = await measured(new GrammarHost(xgrammar, () => null)), ours = await measured(new GrammarHost(xgrammar));
const mean = ({ times }) => times.reduce((sum, one) => sum + one) / times.length;
const row = (...cells) => write(cells.map((cell) => (typeof cell === "number" ? cell.toFixed(2) : cell).padStart(10)).join(" "));
row("behind", "XGrammar's", "ours");
plain.path.forEach((token, i) => row(tokens[token], plain.times[i], ours.times[i]));
row("mean", mean(plain), mean(ours));
row("slowest", Math.max(...plain.times), Math.max(...ours.times));
row("compiled", plain.compiled, ours.compiled);
