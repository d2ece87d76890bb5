/**
 * Masks as the app has them beside XGrammar's own. Arguments: grammar_core.js and xgrammar.js; stdin: {tokens, stops, walks, steps,
 * starts: [start questions]}; stdout: {steps: [of each start], differs: [{start, step, id}], texts: [grammar compiled of each start, or
 * null for XGrammar's own]}. A walk takes ids that the masks allow, by a generator with a fixed seed.
 */
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [core, module] = process.argv.slice(2).map((path) => pathToFileURL(path).href);
globalThis.location = { href: module };
const { GrammarHost } = await import(core), xgrammar = await import(module);
const { withLookaheads } = await import(new URL("grammar_lookahead.js", core));
const write = process.stdout.write.bind(process.stdout);
const given = JSON.parse(readFileSync(0)), found = { steps: [], differs: [], texts: [] };
const hosts = [new GrammarHost(xgrammar, (ebnf) => (found.texts[found.steps.length] = withLookaheads(ebnf))),
  new GrammarHost(xgrammar, () => null)];
for (const host of hosts) await host.answer({ op: "table", tokens: given.tokens, stops: given.stops });

let seed = 1;
const random = () => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 32;
const allowed = (mask) => given.tokens.map((_, id) => id).filter((id) => mask[id >> 3] >> (id & 7) & 1);

async function asked(questions) {
  const replies = [];
  for (const [i, host] of hosts.entries()) replies.push(await host.answer(questions[i]));
  for (const { error } of replies) if (error) throw Error(`${error}: ${JSON.stringify(questions[0])}`);
  return replies;
}

/** How many masks were compared in one walk through a grammar. */
async function walk(start, number) {
  const begun = await asked(hosts.map(() => ({ op: "start", ...start })));
  let replies = begun, step = 0;
  for (; step < given.steps; step++) {
    const [ids, others] = replies.map(({ mask }) => allowed(mask));
    const odd = ids.find((id) => !others.includes(id)) ?? others.find((id) => !ids.includes(id));
    if (odd !== undefined) found.differs.push({ start: number, step, id: odd });
    const token = ids[Math.floor(random() * ids.length)];
    if (odd !== undefined || token === undefined || given.stops.includes(token)) break;
    replies = await asked(begun.map(({ matcher }) => ({ op: "step", matcher, token })));
  }
  await asked(begun.map(({ matcher }) => ({ op: "end", matcher })));
  return step;
}

for (const [number, start] of given.starts.entries()) {
  let steps = 0;
  for (let i = 0; i < given.walks; i++) steps += await walk(start, number);
  found.steps.push(steps);
}
write(JSON.stringify(found));
