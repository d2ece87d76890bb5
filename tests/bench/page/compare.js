/**
 * Measures one peer in this browser: load, prefill, decoding, memory. run.py opens one such page
 * after the other in the same browser. Every figure is reported as it is found, so that a peer that
 * is ended by the watchdog keeps what it has.
 *
 * A peer is a module of peers/ with `open(options) -> {info, memory(), stats(),
 * generate({ids, text}, count, onTokens)}`; `onTokens(n)` is called when n more tokens have
 * arrived. Times are the page's own clock for every peer.
 */
import { adapterInfo, counting, heaps, median, numbers, parameters, report, round, TimedOut,
  within } from "./measure.js";

const peer = parameters.get("peer");
const limit = Number(parameters.get("limit"));
const repeats = Number(parameters.get("repeats"));
const decodeTokens = Number(parameters.get("tokens"));
const say = (measure, value) => report({ peer, measure, value });

/** One generation -> {ttft_ms, decode_tps, tokens}; decode_tps null with one token. */
async function generate(engine, prompt, count) {
  const began = performance.now();
  let first = 0, last = 0, tokens = 0, firstTokens = 0;
  await engine.generate(prompt, count, (n) => {
    last = performance.now();
    first ||= last;
    firstTokens ||= n;
    tokens += n;
  });
  const rest = tokens - firstTokens;
  return { ttft_ms: first - began, tokens, decode_tps: rest ? 1000 * rest / (last - first) : null };
}

/** `repeats` runs of each length, each within the limit; a length that times out ends the list. */
async function series(name, lengths, once, digest) {
  for (const [index, length] of lengths.entries()) {
    const runs = [];
    try {
      for (let i = 0; i < repeats; i++) runs.push(await within(limit, () => once(length, i)));
    } catch (error) {
      if (!(error instanceof TimedOut)) throw error;
      const partial = runs.length ? digest(length, runs) : {};
      await say(`${name}.${length}`, { ...partial, failed: error.message });
      const failed = `not run: ${length} timed out`;
      for (const other of lengths.slice(index + 1)) await say(`${name}.${other}`, { failed });
      return false; // what timed out may still be running: nothing after it can be timed
    }
    await say(`${name}.${length}`, digest(length, runs));
  }
  return true;
}

function prefillDigest(length, runs) {
  const [first, ...warm] = runs.map(({ ttft_ms }) => ttft_ms);
  const ms = median(warm.length ? warm : [first]);
  return { first_ttft_ms: round(first), ttft_ms: round(ms), tps: round(1000 * length / ms),
    first_tps: round(1000 * length / first), runs: runs.length };
}

function decodeDigest(length, runs) {
  return { tps: round(median(runs.map((run) => run.decode_tps ?? 0))), runs: runs.length,
    tokens: median(runs.map((run) => run.tokens)) };
}

async function measure() {
  await say("browser", { user_agent: navigator.userAgent, adapter: await adapterInfo(),
    threads: navigator.hardwareConcurrency, isolated: globalThis.crossOriginIsolated });
  const module = await import(`./peers/${peer.split("-")[0]}.js`);
  const began = performance.now();
  const engine = await within(limit, () => module.open(Object.fromEntries(parameters)));
  await say("load", { ms: round(performance.now() - began) });
  await say("info", engine.info);
  const first = await within(limit, () => generate(engine, counting(64, 7), 1));
  await say("first_answer", { ttft_ms: round(first.ttft_ms) });
  const timed = await series("decode", numbers("contexts"),
    (length, i) => generate(engine, counting(length, i), decodeTokens), decodeDigest)
    && await series("prefill", numbers("prefills"),
      (length, i) => generate(engine, counting(length, i), 1), prefillDigest);
  await say("heap", await heaps());
  await say("memory", await engine.memory());
  if (timed) await say("stats", await engine.stats());
}

try {
  await measure();
} catch (error) {
  await say("failed", `${error?.message ?? error}`.slice(0, 400));
}
const { next } = await report({ peer, measure: "end", value: null });
if (next) location.href = next;
