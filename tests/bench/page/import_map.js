// transformers.js imports onnxruntime-web by name: which of its builds answers is the peer's
// variant. It must run before any module is loaded, so it is no module itself.
{
  const jspi = new URLSearchParams(location.search).get("peer")?.includes("jspi");
  const bundle = jspi ? "ort.jspi.bundle.min.mjs" : "ort.webgpu.bundle.min.mjs";
  const vendor = new URL("/vendor/", location.href).href;
  const map = document.createElement("script");
  map.type = "importmap";
  map.textContent = JSON.stringify({ imports: {
    "onnxruntime-web/webgpu": `${vendor}ort/${bundle}`,
    "onnxruntime-common": `${vendor}ort-common/index.js`,
    "@huggingface/transformers": `${vendor}transformers/transformers.web.js`,
    "@wllama/wllama": `${vendor}wllama/index.js`,
  } });
  document.currentScript.after(map);
}
