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

/** Kernel by kernel: decode at each context, and those of the prefill lengths that have a program of their own. */
async function profiles(engine) {
  const found = [];
  for (const position of contexts) found.push(await engine.profile({ program: "decode", position, repeats }));
  for (const rows of prefills.filter((length) => [16, 128, 512].includes(length))) {
    found.push(await engine.profile({ program: `prefill${rows}`, position: 0, repeats }));
  }
  return found;
}

/**
 * Many tokens far into the context. A fresh prefill of the prompt and the first tokens must choose the
 * token that decoding chose there; between the checks another prompt takes the cache.
 */
async function long(engine, start, count) {
  const complete = async (prompt, max_tokens) => (await engine.completions.create(
    { prompt, max_tokens, temperature: 0, return_token_ids: true })).choices[0].token_ids;
  const ids = counting(start, 0);
  const before = await engine.stats();
  const began = performance.now();
  const text = await complete(ids, count);
  const seconds = (performance.now() - began) / 1e3;
  const after = await engine.stats();
  const checks = [];
  for (const at of [1, count >> 2, count >> 1, text.length - 1]) {
    await complete(prompt(7, at), 1);
    checks.push({ at, decoded: text[at], fresh: (await complete([...ids, ...text.slice(0, at)], 1))[0] });
  }
  const memory = [before, after, await engine.stats()].map((s) => ({ gpu: s.bytes.total, ...s.live, objects: s.objects }));
  return { start, tokens: text.length, seconds, decode_tps: after.decode_tps, checks, memory,
    agree: checks.every(({ decoded, fresh }) => decoded === fresh) };
}

const PEOPLE = { type: "array", minItems: 60, maxItems: 80, items: { type: "object", required: ["name", "age"],
  properties: { name: { type: "string", maxLength: 12 }, age: { type: "integer" } } } };

/** Bursts of one token, free and under a schema in turns; the first round compiles. Medians of tokens a second. */
async function jsonMode(engine) {
  const schema = { type: "json_schema", json_schema: { name: "people", schema: PEOPLE } };
  const rates = { free: [], json: [] };
  for (let round = 0; round <= repeats; round++) {
    for (const [name, response_format] of [["free", null], ["json", schema]]) {
      const answer = await engine.completions.create({ prompt: counting(contexts[0], round), max_tokens: decodeTokens,
        temperature: 0, response_format, return_token_ids: true });
      const { decode_tps, python_ms_per_token } = await engine.stats();
      if (round) rates[name].push({ decode_tps, python_ms_per_token, tokens: answer.usage.completion_tokens });
    }
  }
  const [free, json] = [rates.free, rates.json].map((runs) => median(runs.map((run) => run.decode_tps)));
  return { free, json, ratio: json / free, rates };
}

async function measure() {
  const began = performance.now();
  const { createEngine } = await import("../jird.js");
  const options = parameters.get("json_mode") ? { burst: 1 } : {};
  if (parameters.get("model")) options.model = new URL(parameters.get("model"), location.href).href;
  if (parameters.get("context")) options.context = Number(parameters.get("context"));
  if (parameters.get("tune")) options.tune = parameters.get("tune") === "on";
  const asked = ["apart", "delta_state", "variants"]; // jird.js reads them too
  const knobs = Object.fromEntries(asked.map((name) => [name, parameters.get(name)]));
  const engine = await createEngine(options);
  if (parameters.get("profile")) return { device: (await engine.stats()).device, knobs, profiles: await profiles(engine) };
  if (parameters.get("json_mode")) return { device: (await engine.stats()).device, json_mode: await jsonMode(engine) };
  if (parameters.get("long")) {
    const [count, start] = parameters.get("long").split("@").map(Number);
    return { device: (await engine.stats()).device, long: await long(engine, start, count) };
  }
  const result = { user_agent: navigator.userAgent, ready_ms: performance.now() - began, prefill: {}, decode: {} };
  const run = async (ids, max_tokens) => {
    await engine.completions.create({ prompt: ids, max_tokens, temperature: 0 });
    return engine.stats();
  };
  for (const length of prefills) {
    const runs = [];
    for (let i = 0; i <= repeats; i++) runs.push((await run(prompt(length, i), 1)).prefill_tps);
    result.prefill[length] = { first: runs[0], warm: median(runs.slice(1)), runs: runs.map(Math.round) };
  }
  for (const context of contexts) {
    const runs = [];
    for (let i = 0; i < repeats; i++) runs.push(await run(counting(context, i), decodeTokens));
    result.decode[context] = {
      tps: median(runs.map((s) => s.decode_tps)), submits_per_token: median(runs.map((s) => s.submits_per_token)),
      python_ms_per_token: median(runs.map((s) => s.python_ms_per_token)), tokens: median(runs.map((s) => s.tokens)),
    };
  }
  const { device, dispatches_per_token, load_ms, bytes, tuned } = await engine.stats();
  return { ...result, knobs, device, dispatches_per_token, load_ms, bytes, tuned };
}

const answer = await measure().catch((error) => ({ error: String(error), stack: error.stack }));
await fetch("result", { method: "POST", body: JSON.stringify(answer) });
