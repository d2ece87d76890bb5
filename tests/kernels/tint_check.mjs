// Compiles WGSL with Tint, without a GPU: JSON lines {name, code} on stdin, JSON lines {name,
// messages} on stdout. usage: node tint_check.mjs FOLDER_WITH_NODE_MODULES < shaders.jsonl
// A message is {type, line, column, text}; exit status 1: some are errors, 3: no npm package
// "webgpu" there or on NODE_PATH.
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { createInterface } from "node:readline";

const folder = resolve(process.argv[2] ?? ".");
let entry;
try {
  entry = createRequire(join(folder, "index.js")).resolve("webgpu");
} catch (error) {
  console.error(error.message);
  process.exit(3);
}
const { create, globals } = await import(pathToFileURL(entry));
Object.assign(globalThis, globals);
const gpu = create(["backend=null"]);
const adapter = await gpu.requestAdapter();
// f16 and subgroups are asked for where the null adapter has them, so that optional variants
// compile too
const wanted = ["shader-f16", "subgroups"].filter((feature) => adapter.features.has(feature));
const device = await adapter.requestDevice({ requiredFeatures: wanted });
// Dawn's objects crash Node when they are collected while the device still works
globalThis.kept = [gpu, adapter, device];

let failed = false;
for await (const line of createInterface({ input: process.stdin })) {
  if (!line.trim()) continue;
  const { name, code } = JSON.parse(line);
  device.pushErrorScope("validation");
  const module = device.createShaderModule({ code });
  const info = await module.getCompilationInfo();
  const messages = info.messages.map(
    (m) => ({ type: m.type, line: m.lineNum, column: m.linePos, text: m.message }));
  if (!messages.some((m) => m.type === "error")) {
    // the pipeline checks what the text alone does not: workgroup memory, sizes, bindings
    device.createComputePipeline({ layout: "auto", compute: { module } });
  }
  const error = await device.popErrorScope();
  if (error && !messages.some((m) => m.type === "error")) {
    messages.push({ type: "error", line: 0, column: 0, text: error.message });
  }
  failed ||= messages.some((m) => m.type === "error");
  console.log(JSON.stringify({ name, messages }));
}
device.destroy();
process.exit(failed ? 1 : 0);
