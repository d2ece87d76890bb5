"""A browser that refuses to store anything: what is downloaded or imported lies in the memory of the
page's storage worker, and the engine uses it from there."""
import shutil

import numpy as np
import pytest

from tests.support import link_site

TINY = "models-tiny/llama"
REFUSING = """
const refused = () => new DOMException("caused by a test", "SecurityError");
StorageManager.prototype.getDirectory = () => Promise.reject(refused());
IDBFactory.prototype.open = () => { throw refused(); };
"""
HARNESS = """
import { createEngine } from "./jird.js";
import { leaveStorage, useStorage } from "./js/storage/shared.js";

/** Imports the model as the Models page does, which is left then. */
window.store = async () => {
  const files = await Promise.all(["config.json", "model.safetensors"].map(async (name) => (
    { name, file: new File([await (await fetch(`tiny/${name}`)).blob()], name) })));
  const storage = useStorage();
  const { backend, durable } = await storage.call("info");
  const { state } = await storage.call("import", { id: "local:tiny", name: "tiny", files });
  await leaveStorage();
  return [backend, durable, state];
};
window.answer = async (ids) => {
  const engine = await createEngine({ model: "local:tiny", quant: "keep", kv: "f32", context: 256, device: "reference" });
  const found = await engine.completions.create({ prompt: ids, temperature: 0, max_tokens: 6, return_token_ids: true });
  await engine.unload();
  return found.choices[0].token_ids;
};
window.stored = async () => {
  const rows = await useStorage().call("list");
  await leaveStorage();
  return rows.map(({ id, state }) => [id, state]);
};
window.forget = async () => {
  await useStorage().call("delete", { id: "local:tiny" });
  await leaveStorage();
};
window.up = true;
"""
WORKERS = """globalThis.running = new Set();
globalThis.Worker = class extends globalThis.Worker {
  constructor(...given) { super(...given); running.add(this); }
  terminate() { running.delete(this); super.terminate(); }
};"""


@pytest.fixture
def refusing(page, dist, goldens, serve, tmp_path):
    root = tmp_path / "app"
    link_site(dist, root)
    shutil.copytree(goldens / TINY, root / "tiny")
    (root / "storage_worker.js").rename(root / "real_storage_worker.js")
    (root / "storage_worker.js").write_text("import './refusing.js';\nimport './real_storage_worker.js';\n")
    (root / "refusing.js").write_text(REFUSING)
    (root / "harness.js").write_text(HARNESS)
    (root / "blank.html").write_text(
        "<!doctype html><meta charset=utf-8><link rel=icon href='data:,'><title>x</title>"
        "<script type=module src=harness.js></script>")
    page.add_init_script(WORKERS)
    page.goto(serve(root, "/some/app/").url + "blank.html")
    page.wait_for_function("window.up")
    return page


def test_the_engine_reads_what_the_page_holds_in_memory(refusing, goldens):
    golden = np.load(goldens / TINY / "golden.npz")
    assert refusing.evaluate("store()") == ["memory", False, "complete"]
    for _ in range(2):  # and again, once the engine's worker has ended
        ids = refusing.evaluate("(ids) => answer(ids)", golden["ids"].tolist())
        assert ids == golden["greedy32"][:6].tolist()
    assert refusing.evaluate("stored()") == [["local:tiny", "complete"]]
    assert refusing.evaluate("running.size") == 1, "the worker that holds it"
    refusing.evaluate("forget()")
    refusing.wait_for_function("running.size === 0")
