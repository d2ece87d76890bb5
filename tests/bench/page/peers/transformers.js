/**
 * transformers.js on onnxruntime-web with the int4 ONNX export of the same weights. The peer's name
 * says the variant: `transformers-webgpu` (its default build), `transformers-jspi` (the build with
 * JavaScript promise integration), `transformers-wasm`.
 */
import { AutoModelForCausalLM, BaseStreamer, env, Tensor } from "@huggingface/transformers";

class Counter extends BaseStreamer {
  constructor(onTokens) {
    super();
    this.prompt = true;
    this.onTokens = onTokens;
  }

  put(values) {
    if (this.prompt) this.prompt = false;
    else this.onTokens(values[0].length);
  }

  end() {}
}

function configure(variant, threads) {
  const build = variant === "jspi" ? "jspi" : "asyncify";
  const file = new URL(`/vendor/ort/ort-wasm-simd-threaded.${build}`, location.href).href;
  env.allowRemoteModels = false;
  env.allowLocalModels = true;
  env.localModelPath = "/onnx/";
  env.useBrowserCache = false;
  env.useWasmCache = false;
  const { wasm } = env.backends.onnx;
  wasm.wasmPaths = { mjs: `${file}.mjs`, wasm: `${file}.wasm` };
  wasm.numThreads = Number(threads);
}

export async function open({ peer, onnx, dtypes, threads, transformers_version }) {
  const variant = peer.split("-")[1] ?? "webgpu";
  configure(variant, threads);
  const device = variant === "wasm" ? "wasm" : "webgpu";
  const adapter = device === "webgpu" ? await navigator.gpu?.requestAdapter() : null;
  if (device === "webgpu" && !adapter) throw new Error("no WebGPU adapter");
  const names = device === "wasm" ? ["wasm_q4"]
    : adapter.features.has("shader-f16") ? ["q4f16", "q4"] : ["q4"];
  const found = names.find((name) => dtypes.split(",").includes(name));
  if (!found) throw new Error(`the kit has no ONNX export of type ${names.join(" or ")}`);
  const dtype = found.replace("wasm_", "");
  const model_file_name = device === "wasm" ? "model_wasm" : "model";
  const options = { dtype, device, model_file_name };
  const model = await AutoModelForCausalLM.from_pretrained(onnx, options);
  const threadsUsed = env.backends.onnx.wasm.numThreads;
  return {
    info: { version: transformers_version, ort: env.backends.onnx.versions?.web, dtype,
      path: device === "webgpu" ? `WebGPU (${variant === "jspi" ? "JSPI" : "Asyncify"})`
        : `WASM, ${threadsUsed} threads` },
    async generate({ ids }, count, onTokens) {
      const dims = [1, ids.length];
      const input_ids = new Tensor("int64", BigInt64Array.from(ids, BigInt), dims);
      const attention_mask = new Tensor("int64", new BigInt64Array(ids.length).fill(1n), dims);
      await model.generate({ input_ids, attention_mask, max_new_tokens: count, do_sample: false,
        eos_token_id: null, streamer: new Counter(onTokens) });
    },
    memory: async () => null,
    stats: async () => null,
  };
}
