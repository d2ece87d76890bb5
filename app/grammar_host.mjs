/**
 * XGrammar for the native command line: a JSON object a line on stdin, a reply a line on stdout, masks
 * in base64. Arguments: the folder of grammar_core.js, and the bundled xgrammar.js.
 */
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [core, module] = process.argv.slice(2).map((path) => pathToFileURL(path).href);
globalThis.location = { href: module }; // the bundle is a browser's, which asks where it is
const { GrammarHost } = await import(core);
const host = new GrammarHost(await import(module));

for await (const line of createInterface({ input: process.stdin })) {
  const { mask, ...reply } = await host.answer(JSON.parse(line));
  if (mask) reply.mask = Buffer.from(mask.buffer).toString("base64");
  process.stdout.write(JSON.stringify(reply) + "\n");
}
