/**
 * Compiles the self-test of a first start (pyengine/selftest.py) while Python boots, which leaves the GPU idle.
 *
 * It is a guess by the site's `selftest.json` (app/build/ahead.py): Python plans the test itself, and what was guessed right it
 * finds begun.
 */

const GGUF_HEAD = 4096; // bytes, in which general.architecture is: files begin with it

/**
 * Begins it on `gpu` (gpu_binding.js), unless it is a CPU, which tests no kernels at a start, or has the result of an earlier
 * start: `kept(key)` promises it. `site`: URL of the app's folder; `model`: what a person names it by; `variants`: the load's;
 * `readers`: Promise of the model's files, waited for where the catalogue does not tell what it is.
 */
export async function compileAhead(gpu, { site, model, variants, readers, kept }) {
  const facts = JSON.parse(gpu.describe());
  if (facts.software) return;
  const table = await (await fetch(new URL("selftest.json", site))).json();
  const tiny = table.offers[model] ?? (await tinyModelOf(table, await readers));
  const wanted = wantedFeatures(table, variants, facts);
  if (await kept(`${table.key}|${wanted}|${tiny}|${facts.identity}`)) return;
  gpu.compileAhead(shadersOf(table, facts, wanted, tiny));
}

function wantedFeatures({ gains }, variants, { vendor }) {
  if (variants == null) return gains[vendor.toLowerCase()] ?? [];
  return variants === "none" ? [] : String(variants).split(",");
}

/** [[WGSL, access]] of the chains, the features and the kernels of the `tiny` model. */
function shadersOf({ probes, models, shaders, texts }, facts, wanted, tiny) {
  const used = (name) => wanted.includes(name) && facts[name];
  const features = Object.keys(probes).filter((name) => facts[name] !== false);
  const kernels = models[tiny][`${Number(used("f16"))},${used("subgroups") ? facts.subgroup : 0}`] ?? [];
  return [...features.map((name) => probes[name]), ...kernels].map((number) => {
    const [[head, ...keys], access] = shaders[number];
    return [head + keys.map((key) => texts[key]).join(""), access];
  });
}

/** The name of the tiny model that tests the kernels of these files' model. */
async function tinyModelOf({ types }, readers) {
  const config = readers.find(({ name }) => name === "config.json");
  const { type, weights } = config ? ofConfig(await textOf(config, config.size)) : ofGguf(await textOf(readers[0], GGUF_HEAD));
  return `${types[type] ?? "llama"}-${weights}`;
}

function ofConfig(text) {
  const config = JSON.parse(text), { text_config: nested = config } = config;
  return { type: nested.model_type, weights: "quantization" in config || "quantization" in nested ? "mlx4" : "mixed" };
}

/** Behind a key are 4 bytes of the value's type, 8 of its length, then its characters. */
function ofGguf(text) {
  const key = "general.architecture", at = text.indexOf(key) + key.length + 4;
  return { type: text.slice(at + 8, at + 8 + text.charCodeAt(at)), weights: "mixed" };
}

async function textOf(reader, length) {
  const bytes = await reader.read(0, Math.min(length, reader.size));
  return new TextDecoder("latin1").decode(bytes);
}
