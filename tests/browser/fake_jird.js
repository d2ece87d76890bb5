// Stands in for jird.js in the page's tests: replays a recorded stream. `globalThis.fakeJird` sets
// what it does: {heard, partialMs, segments, speechMs, failSpeech, loadMs, failLoad, waitLoad, pieces, perSecond, firstMs, failAt, failCode, hangAt, pauseAt}.
const options = () => ({
  loadMs: 0,
  pieces: ["Hello", " there", "."],
  perSecond: 60,
  firstMs: 5,
  ...globalThis.fakeJird,
});
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function failure(code, message, nextStep) {
  return Object.assign(new Error(message), { code, next_step: nextStep, facts: {} });
}

async function load(onProgress, { loadMs, waitLoad }) {
  const stages = [
    ["boot", 0],
    ["read", 98e6],
    ["upload", 98e6],
    ["compile", 31],
  ];
  for (const [stage, total] of stages) {
    for (let i = 0; i <= 10; i++) {
      onProgress?.({
        stage,
        label: stage,
        bytes_done: Math.round((total * i) / 10),
        bytes_total: total,
        rate: 0,
        ms: 0,
      });
      if (waitLoad === `${stage}:${i}`)
        await new Promise((resolve) => (globalThis.releaseLoad = resolve));
      if (loadMs) await sleep(loadMs / 50);
    }
  }
  onProgress?.({ stage: "ready", bytes_done: 0, bytes_total: 0 });
}

async function* replay(body, signal) {
  const { pieces, perSecond, firstMs, failAt, failCode, hangAt, pauseAt } = options();
  const asked = performance.now();
  await sleep(firstMs);
  const begun = performance.now();
  const times = (globalThis.fakeTimes = { asked, begun });
  for (let i = 0; i < pieces.length; i++) {
    if (i === failAt)
      throw failure(
        failCode ?? "E_DEVICE_LOST",
        "The GPU device was lost.",
        "Load the model again.",
      );
    if (i === hangAt) await new Promise(() => {});
    if (i === pauseAt) await new Promise((resolve) => (globalThis.goOn = resolve));
    const wait = begun + (i * 1000) / perSecond - performance.now();
    if (wait > 0) await sleep(wait);
    if (signal?.aborted) throw new DOMException("aborted", "AbortError");
    times.last = performance.now();
    yield {
      object: "chat.completion.chunk",
      choices: [{ index: 0, delta: { content: pieces[i] }, finish_reason: null }],
      usage: { prompt_tokens: 9, completion_tokens: i + 1, total_tokens: i + 10 },
    };
    times.first ??= performance.now(); // the page has taken the first piece
  }
  times.ended = performance.now();
  yield { choices: [{ index: 0, delta: {}, finish_reason: "stop" }] };
}

// Ears that "hear" the next of `heard` whatever comes, a word each `partialMs` of samples.
let turns = 0;
function session({ sampleRate, onPartial }) {
  const { heard = ["heard"], partialMs = 200 } = options();
  const words = heard[Math.min(turns++, heard.length - 1)].split(" ");
  const hearing = { samples: 0, sampleRate, peak: 0, partials: 0, state: "open", at: performance.now() };
  (globalThis.hearings ??= []).push(hearing);
  return {
    push(frame) {
      if (hearing.state !== "open") throw new Error("pushed after the end");
      hearing.samples += frame.length;
      for (const x of frame) hearing.peak = Math.max(hearing.peak, Math.abs(x));
      const known = Math.min(words.length, Math.floor(hearing.samples / (16 * partialMs)));
      if (known <= hearing.partials) return;
      hearing.partials = known;
      onPartial({ text: words.slice(0, known).join(" "), final: "" });
    },
    async flush() {
      hearing.state = "flushed";
      await sleep(5);
      return words.join(" ");
    },
    cancel() {
      hearing.state = "cancelled";
    },
  };
}

// A voice: a tone of `speechMs` a character, in blocks of 50 ms.
async function* tone(input, signal) {
  const sampleRate = 22_050;
  const blocks = Math.ceil((input.length * (options().speechMs ?? 20)) / 50);
  for (let b = 0; b < blocks; b++) {
    await sleep(2);
    if (signal?.aborted) throw new DOMException("aborted", "AbortError");
    const at = (i) => 0.3 * Math.sin((2 * Math.PI * 440 * (b * 1102 + i)) / sampleRate);
    yield { samples: Float32Array.from({ length: 1102 }, (_, i) => at(i)), sampleRate };
  }
}

const audio = {
  transcriptions: {
    session,
    async create({ file, response_format }) {
      (globalThis.transcribed ??= []).push({ name: file.name, bytes: file.size, response_format });
      return { segments: options().segments ?? [] };
    },
  },
  speech: {
    async create(body, { signal } = {}) {
      (globalThis.spoken ??= []).push(structuredClone(body));
      if (options().failSpeech) throw failure("E_NETWORK", "The voice is not here.", "Try again.");
      if (body.stream) return tone(body.input, signal);
      return new Response("a WAV file", { headers: { "content-type": "audio/wav" } });
    },
  },
};

export async function catalog() {
  return options().catalog ?? null;
}

export async function createEngine({ model, context, onProgress }) {
  const chosen = options();
  globalThis.engineLoads = (globalThis.engineLoads ?? 0) + 1;
  await load(onProgress, chosen);
  if (chosen.failLoad) {
    globalThis.fakeJird.failLoad = false;
    throw failure(
      "E_CORRUPT_SHARD",
      "model.gguf is damaged: block 3 of 24.",
      "Delete this file and fetch it again.",
    );
  }
  globalThis.requests = [];
  globalThis.loadedContext = context ?? null;
  const defaults = { temperature: 0.7, top_p: 1, top_k: 0, min_p: 0, repetition_penalty: 1 };
  return {
    info: { model, context: context ?? chosen.context ?? 2048, defaults },
    ...(chosen.noAudio ? {} : { audio }),
    chat: {
      completions: {
        async create(body, { signal } = {}) {
          globalThis.requests.push(structuredClone(body));
          return replay(body, signal);
        },
      },
    },
    async stats() {
      return { model, decode_tps: 12, ...options().stats };
    },
    async selftest() {
      return options().selftest;
    },
    async profile() {
      if (!options().report) throw failure("E_BUSY", "The engine is busy.", "Wait for it.");
      return options().report;
    },
    async unload() {
      globalThis.engineUnloads = (globalThis.engineUnloads ?? 0) + 1;
    },
  };
}
