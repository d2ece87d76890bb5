/** Measures one engine in this browser and posts the figures to tests/bench/speed.py, which serves this page. */
const parameters = new URLSearchParams(location.search);
const repeats = Number(parameters.get("repeats"));
const contexts = parameters.get("contexts").split(",").map(Number);
const prefills = parameters.get("prefills").split(",").map(Number);
const decodeTokens = Number(parameters.get("tokens"));

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

/** Ids that differ from run to run, so that no prefix is reused; the same in every browser. */
function prompt(length, seed) {
  let state = 12345 + 7919 * seed;
  return Array.from({ length }, () => 1000 + ((state = (state * 1103515245 + 12345) % 2147483648) % 40000));
}

/** Ids of a text that counts on: its continuation does not end early. */
function counting(length, seed) {
  const digits = [];
  for (let i = 1 + seed; digits.length < length; i++) digits.push(216, ...String(i).split("").map((d) => 32 + Number(d)), 28);
  return digits.slice(0, length);
}

async function measure() {
  const began = performance.now();
  const { createEngine } = await import("../jird.js");
  const engine = await createEngine({});
  const result = { user_agent: navigator.userAgent, ready_ms: performance.now() - began, prefill: {}, decode: {} };
  const run = async (ids, max_tokens) => {
    await engine.completions.create({ prompt: ids, max_tokens, temperature: 0 });
    return engine.stats();
  };
  for (const length of prefills) {
    const runs = [];
    for (let i = 0; i <= repeats; i++) runs.push((await run(prompt(length, i), 1)).prefill_tps);
    result.prefill[length] = { first: runs[0], warm: median(runs.slice(1)) };
  }
  for (const context of contexts) {
    const runs = [];
    for (let i = 0; i < repeats; i++) runs.push(await run(counting(context, i), decodeTokens));
    result.decode[context] = {
      tps: median(runs.map((s) => s.decode_tps)), submits_per_token: median(runs.map((s) => s.submits_per_token)),
      python_ms_per_token: median(runs.map((s) => s.python_ms_per_token)), tokens: median(runs.map((s) => s.tokens)),
    };
  }
  const { device, dispatches_per_token, load_ms, bytes } = await engine.stats();
  return { ...result, device, dispatches_per_token, load_ms, bytes };
}

const answer = await measure().catch((error) => ({ error: String(error), stack: error.stack }));
await fetch("result", { method: "POST", body: JSON.stringify(answer) });
