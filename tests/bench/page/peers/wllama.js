/**
 * wllama (llama.cpp in WebAssembly, with its WebGPU backend where the browser has shader-f16) on
 * the same GGUF. Which path it took is read from llama.cpp's own log.
 */
import { Wllama } from "@wllama/wllama";

const CONTEXT = 4096;

export async function open({ gguf, threads, peer, wllama_version }) {
  const lines = [];
  const note = (...parts) => lines.push(parts.map(String).join(" "));
  const logger = { debug: note, log: note, warn: note, error: note };
  const wllama = new Wllama({ default: new URL("/vendor/wllama/wllama.wasm", location.href).href },
    { logger });
  const load = { n_ctx: CONTEXT, n_parallel: 1 };
  if (peer.includes("wasm")) load.n_gpu_layers = 0;
  const adapter = await navigator.gpu?.requestAdapter();
  const wasm = load.n_gpu_layers === 0 || !adapter?.features.has("shader-f16");
  if (wasm) load.n_threads = Number(threads); // its own choice, half the cores, is slower there
  await wllama.loadModelFromUrl(new URL(gguf, location.href).href, load);
  const gpu = lines.filter((line) => /offloaded|webgpu/i.test(line));
  const onGpu = lines.some((line) => /webgpu\S* model buffer size/i.test(line));
  const buffers = lines.filter((line) => /buffer size/i.test(line)).map((line) => line.trim());
  const used = wllama.isMultithread() ? wllama.getNumThreads() : 1;
  return {
    info: { version: wllama_version, llama_cpp: Wllama.getLibllamaVersion(),
      path: onGpu ? "WebGPU" : `WASM, ${used} threads`,
      log: gpu.slice(0, 8).map((line) => line.slice(0, 160)) },
    async generate({ ids, text: prompt }, max_tokens, onTokens) {
      const body = { prompt, max_tokens, temperature: 0, top_k: 1, ignore_eos: true, stream: true,
        cache_prompt: false };
      let told = null;
      await wllama.createCompletion({ ...body, onData: (chunk) => {
        told = chunk.timings ?? told;
        if (!chunk.choices?.[0]?.finish_reason) onTokens(1);
      } });
      const read = (told?.prompt_n ?? 0) + (told?.cache_n ?? 0);
      if (read !== ids.length) throw new Error(`wllama read ${read} tokens, not ${ids.length}`);
    },
    async memory() {
      return { reported: buffers.map((line) => line.slice(0, 160)) };
    },
    stats: async () => null,
  };
}
