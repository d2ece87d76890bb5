/**
 * Time of a decoded token against context length and model size: random weights of real
 * configurations (random_model.py), loaded through the site like any model. Beside each time stand
 * the bytes and dispatches that are to explain it.
 */
import { adapterInfo, median, numbers, parameters, randomIds, report, round, within }
  from "./measure.js";

const limit = Number(parameters.get("limit"));
const repeats = Number(parameters.get("repeats"));
const decodeTokens = Number(parameters.get("tokens"));
const contexts = numbers("contexts");
const say = (measure, value) => report({ peer: "scaling", measure, value });

/** Milliseconds a token of one run, from the page's clock, the first arrival left out. */
async function decode(engine, prompt) {
  const body = { prompt, max_tokens: decodeTokens, temperature: 0, stream: true,
    return_token_ids: true };
  let first = 0, last = 0, tokens = 0;
  for await (const chunk of await engine.completions.create(body)) {
    const count = chunk.choices[0]?.token_ids?.length;
    if (!count) continue;
    last = performance.now();
    if (first) tokens += count;
    first ||= last;
  }
  return (last - first) / tokens;
}

async function measureModel(createEngine, name) {
  const model = new URL(`/random/${name}.gguf`, location.href).href;
  const began = performance.now();
  const options = { model, context: Math.max(...contexts) + decodeTokens + 64 };
  const engine = await within(limit, () => createEngine(options));
  const { bytes, dispatches_per_token, load_ms } = await engine.stats();
  const found = { load_ms: round(performance.now() - began), load_parts: load_ms, bytes,
    dispatches_per_token, context: engine.info.context, decode_ms: {} };
  try {
    for (const context of contexts) {
      const runs = [];
      for (let i = 0; i < repeats; i++) {
        runs.push(await within(limit, () => decode(engine, randomIds(context, i))));
      }
      found.decode_ms[context] = round(median(runs));
      await say(name, found);
    }
  } finally {
    await within(30, () => engine.unload()).catch(() => {});
  }
  return found;
}

async function measure() {
  await say("browser", { user_agent: navigator.userAgent, adapter: await adapterInfo() });
  const { createEngine } = await import(`${parameters.get("site")}jird.js`);
  for (const name of parameters.get("models").split(",")) {
    try {
      await say(name, await measureModel(createEngine, name));
    } catch (error) {
      await say(`${name}.failed`, String(error?.message ?? error).slice(0, 300));
    }
  }
}

await measure().catch((error) => say("failed", String(error)));
const { next } = await report({ peer: "scaling", measure: "end", value: null });
if (next) location.href = next;
