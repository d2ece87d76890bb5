"""What the API's tests share: the whole site with a tiny model that writes and reads bytes, a page
of its own that only has OpenAI's client, and a tab with an engine.

    api_site           AppSite with the model `tiny`, `client.html` and `openai.js`
"""
import hashlib
import json

import pytest

from app.build import node, settings
from app.build.console import BuildError
from tests.browser.pwa_kit import AppSite, Tab, copy_site, make_worker

TINY = "models-tiny/llama"
OPEN = """async (device) => {
  const { createEngine, apiURL } = await import("./jird.js");
  window.engine = await createEngine({ model: "tiny", device, quant: "keep",
    kv: "f32", context: 256 });
  window.baseURL = await apiURL();
}"""
PAGE = """<!doctype html><html lang=en><meta charset=utf-8><title>client</title>
<link rel=icon href="data:,"><script type=module src="client.js"></script>"""
SCRIPT = """import OpenAI, * as kinds from "./openai.js";
Object.assign(window, { OpenAI, kinds });
window.client = (options = {}) => new OpenAI({ baseURL: new URL("v1", location.href).href,
  apiKey: "none", dangerouslyAllowBrowser: true, maxRetries: 0, ...options });
window.caught = (promise) => Promise.resolve(promise).then((value) => ({ value }), (error) => ({
  kind: error.constructor.name, name: error.name, status: error.status, code: error.code,
  type: error.type, param: error.param, message: error.message }));
"""


def byte_alphabet():
    """Byte-level BPE's character of each byte, as GPT-2 has it."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = (b for b in range(256) if b not in plain)
    return {**{b: chr(b) for b in plain}, **{b: chr(256 + i) for i, b in enumerate(others)}}


def byte_tokenizer():
    """A tokenizer.json whose token i is the byte i."""
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
             "use_regex": False}
    vocab = {char: byte for byte, char in byte_alphabet().items()}
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
             "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
             "ignore_merges": False, "vocab": vocab, "merges": []}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [],
            "normalizer": None, "pre_tokenizer": level, "post_processor": None, "decoder": level,
            "model": model}


def add_tiny_model(root, goldens):
    """The tiny model in the place of the site's own, with a tokenizer and a chat template."""
    folder = root / "models" / "tiny"
    folder.mkdir(parents=True)
    for name in ("config.json", "generation_config.json", "model.safetensors"):
        (folder / name).write_bytes((goldens / TINY / name).read_bytes())
    (folder / "tokenizer.json").write_text(json.dumps(byte_tokenizer()))
    template = ("{% for t in tools or [] %}[{{ t.function.name }}]{% endfor %}"
                "{% for m in messages %}<{{ m.role }}>{{ m.content }}"
                "{% for c in m.tool_calls or [] %}{{ c.function | tojson }}{% endfor %}"
                "{% endfor %}<assistant>")
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": template}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    files = [{"name": path.name, "bytes": path.stat().st_size,
              "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
             for path in sorted(folder.iterdir())]
    row = {"id": "tiny", "name": "Tiny", "license": "none", "files": files,
           "bytes": sum(file["bytes"] for file in files)}
    (root / "models" / "index.json").write_text(json.dumps({"models": [row]}))


def add_client(root):
    """OpenAI's client as an ES module, and a page that has nothing else."""
    if not (settings.OPENAI / "node_modules/openai").exists():
        try:
            node.ensure_modules(settings.OPENAI)
        except BuildError as error:
            pytest.skip(f"the npm package openai is not installed: {error.what}")
    entry = 'export * from "openai"; export { default } from "openai";'
    node.bundle(node.tools()[0], entry, root / "openai.js", "--keep-names",
                folder=settings.OPENAI)
    (root / "client.html").write_text(PAGE)
    (root / "client.js").write_text(SCRIPT)


@pytest.fixture(scope="module")
def api_root(dist, goldens, tmp_path_factory):
    root = copy_site(dist, tmp_path_factory.mktemp("api") / "site")
    add_tiny_model(root, goldens)
    add_client(root)
    make_worker(root)
    return root


@pytest.fixture
def api_site(api_root):
    site = AppSite(api_root)
    yield site
    site.close()


def open_engine(context, site, device="reference"):
    """A tab of the app with the tiny model loaded, whose `baseURL` answers. The reference device
    needs no GPU and hears of nothing, a cancel included, before a generation has ended."""
    tab = Tab(context, site.url + "client.html")
    tab.page.evaluate(OPEN, device)
    return tab


def open_client(context, site):
    """A tab with OpenAI's client alone."""
    tab = Tab(context, site.url + "client.html")
    tab.page.evaluate("() => void navigator.serviceWorker.register('./sw.js')")
    tab.controlled()
    tab.until("Boolean(window.client)")
    return tab
