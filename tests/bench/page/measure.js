/** What all pages of the benchmark share: prompts, time limits, and reports to run.py. */
export const parameters = new URLSearchParams(location.search);
export const numbers = (name) => parameters.get(name).split(",").filter(Boolean).map(Number);

export const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];
export const round = (value, digits = 4) => Number(value.toPrecision(digits));

/** Ids that differ from run to run, so that no prefix is reused; the same for every peer. */
export function randomIds(length, seed, top = 41000) {
  let state = 12345 + 7919 * seed;
  const next = () => (state = (state * 1103515245 + 12345) % 2147483648);
  return Array.from({ length }, () => 1000 + next() % (top - 1000));
}

const SPACE = 216, ZERO = 32, COMMA = 28; // SmolLM2's tokens: each digit is one

/**
 * A prompt of `length` SmolLM2 tokens, as {ids, text} since some peers take only one of them:
 * " 1000, 1001," and so on without an end. The first number follows from `seed`, so that no
 * prefix is reused.
 */
export function counting(length, seed) {
  let text = "";
  for (let i = 1000 * (seed + 1); text.length < length; i++) text += ` ${i},`;
  text = text.slice(0, length);
  const ids = Array.from(text, (c) => (c === " " ? SPACE : c === "," ? COMMA : ZERO + Number(c)));
  return { ids, text };
}

export class TimedOut extends Error {}

/** `action()` or a TimedOut after `seconds`; what timed out may still be running. */
export function within(seconds, action) {
  let timer;
  const late = new Promise((_, reject) => {
    const fail = () => reject(new TimedOut(`timed out at ${seconds} s`));
    timer = setTimeout(fail, seconds * 1000);
  });
  return Promise.race([action(), late]).finally(() => clearTimeout(timer));
}

/** Sends run.py one report; its answer: what it measured of the browser's processes. */
export async function report(body) {
  const answer = await fetch("/report", { method: "POST", body: JSON.stringify(body) });
  return answer.json();
}

/** JavaScript and WebAssembly heaps in bytes, where the browser tells them. */
export async function heaps() {
  const found = { js_heap: performance.memory?.usedJSHeapSize ?? null, page: null };
  if (globalThis.crossOriginIsolated && performance.measureUserAgentSpecificMemory) {
    const told = await within(60, () => performance.measureUserAgentSpecificMemory())
      .catch(() => null);
    found.page = told?.bytes ?? null;
  }
  return found;
}

/** The adapter, as the browser names it; null without WebGPU. */
export async function adapterInfo() {
  for (let i = 0; navigator.gpu && i < 5; i++) {
    const adapter = await navigator.gpu.requestAdapter();
    if (adapter) {
      const { vendor, architecture, device, description } = adapter.info ?? {};
      return { vendor, architecture, device, description, f16: adapter.features.has("shader-f16") };
    }
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
  return null;
}
