/** XGrammar in a worker of its own, made when a grammar is first asked for: what takes too long can be ended. */
import { GrammarHost } from "./grammar_core.js";
import * as xgrammar from "./vendor/xgrammar.js";

const host = new GrammarHost(xgrammar);

self.onmessage = async ({ data: { id, question } }) => {
  const { mask, ...reply } = await host.answer(JSON.parse(question));
  self.postMessage({ id, reply: JSON.stringify(reply), mask }, mask ? [mask.buffer] : []);
};
