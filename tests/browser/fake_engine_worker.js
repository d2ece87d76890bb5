/**
 * Stands in for engine_worker.js: the same protocol, answers made of words, no Python and no GPU.
 */
import { event } from "./js/protocol.js";

const WORDS = ["one", "two", "three", "four", "five", "six", "seven"];
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const serial = Math.random().toString(36).slice(2); // tells one worker from the next
let model = null, loading = null, loads = 0, generated = 0;
const cancelled = new Set(), running = new Set();
let turn = Promise.resolve();

const post = (id, name, data) => self.postMessage(event(id, name, data));
const refuse = (id, code, message) => post(id, "error", { code, message, next_step: "Wait.",
  facts: { model } });

const handlers = {
  async load(id, { model: wanted = "default" }) {
    if (wanted === "missing") return refuse(id, "E_BAD_REQUEST", "no such model");
    if (wanted === "hang") for (;;);
    if (wanted === "never") return;
    if (wanted === "crash") throw new Error("crashed on purpose");
    if (loading?.wanted === wanted) await loading.done;
    if (model !== wanted) {
      if (running.size) return refuse(id, "E_BUSY", "in use");
      post(id, "progress", { stage: "boot" });
      if (wanted === "slow") await (loading = { wanted, done: sleep(300) }).done;
      loading = null;
      model = wanted;
      loads++;
      post(id, "progress", { stage: "ready" });
    }
    post(id, "result", { model, serial });
  },
  async chat(id, params) {
    running.add(id);
    const mine = turn.then(() => generate(id, params));
    turn = mine.catch(() => {});
    await mine;
  },
  complete: (id, params) => handlers.chat(id, params),
  async speak(id, { input, stream, response_format: form = "wav", delay = 5, ...rest }) {
    if (input === "") return refuse(id, "E_BAD_REQUEST", "no input");
    post(id, "progress", { stage: "ready" });
    const samples = [];
    for (const [i, text] of input.split(" ").entries()) {
      await sleep(delay);
      if (cancelled.has(id)) break;
      generated++;
      const audio = Float32Array.of(i / 4, -i / 4);
      samples.push(...audio);
      const data = { type: "speech.audio.delta", sample_rate: 22050, sentence: i, text };
      if (stream) self.postMessage({ ...event(id, "chunk", data), audio }, [audio.buffer]);
    }
    if (stream) post(id, "chunk", { type: "speech.audio.done", usage: {} });
    const whole = { sample_rate: 22050, content_type: `audio/${form}`, rest };
    self.postMessage({ ...event(id, "result", stream ? {} : whole),
      audio: stream ? undefined : Float32Array.from(samples) });
  },
  stats: (id) => post(id, "result", { model, loads, generated, running: running.size, serial, name: self.name }),
  unload(id) {
    model = null;
    post(id, "result", {});
  },
  cancel(id, { target }) {
    cancelled.add(target);
    running.delete(target);
    post(id, "result", {});
  },
};

async function generate(id, { stream, delay = 5, words = WORDS.length, fail_at }) {
  for (let i = 0; i < words && !cancelled.has(id); i++) {
    await sleep(delay);
    if (i === fail_at) {
      running.delete(id);
      return refuse(id, "E_DEVICE_LOST", "lost");
    }
    generated++;
    if (stream) post(id, "chunk", { choices: [{ index: 0,
      delta: { content: WORDS[i % WORDS.length] } }], serial });
  }
  running.delete(id);
  post(id, "result", stream ? {} : { choices: [{ message: { content: WORDS.slice(0,
    words).join(" ") } }], serial });
}

self.onmessage = ({ data: { id, method, params, ping, storage } }) => {
  if (storage !== undefined) return; // it stores nothing
  if (ping) return self.postMessage({ pong: ping });
  const done = handlers[method](id, params);
  // As an uncaught error of the worker
  done?.catch?.((error) => setTimeout(() => { throw error; }));
};
