"""The worker's voice in the browser, with the tiny voice on the reference device: text to samples,
through jird.js and through fetch."""
import base64
import hashlib
import io
import json
import wave

import pytest

from tests.audio.voice_kit import write_codec, write_voice
from tests.browser.api_kit import add_client, open_engine
from tests.browser.api_kit import add_tiny_model as add_chat
from tests.browser.pwa_kit import AppSite, copy_site, make_worker

pytest_plugins = ["tests.browser.pwa_kit"]


def row_of(folder):
    files = [{"name": path.name, "bytes": path.stat().st_size,
              "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
             for path in sorted(folder.iterdir()) if path.suffix in (".json", ".safetensors")]
    return {"id": folder.name, "name": folder.name, "license": "none", "files": files,
            "bytes": sum(file["bytes"] for file in files)}


@pytest.fixture
def voiced_site(dist, goldens, tmp_path):
    root = copy_site(dist, tmp_path / "site")
    add_chat(root, goldens)
    index = json.loads((root / "models" / "index.json").read_text())
    for make, name in ((write_voice, "tiny-voice"), (write_codec, "tiny-codec")):
        index["models"].append(row_of(make(goldens, root / "models" / name)))
    (root / "models" / "index.json").write_text(json.dumps(index))
    add_client(root)
    make_worker(root)
    site = AppSite(root)
    yield site
    site.close()


SPEAK = """async () => {
  const body = { model: "tiny-voice", codec: "tiny-codec", input: "Hm.", seed: 3, quant: "keep",
    context: 256 };
  const chunks = [];
  for await (const one of await engine.audio.speech.create({ ...body, stream: true })) {
    chunks.push(one.samples.length);
  }
  const sound = await engine.audio.speech.create({ ...body, response_format: "pcm" });
  const wrong = await engine.audio.speech.create({ ...body, voice: "x" }).catch((error) => error.code);
  const answer = await fetch("./v1/audio/speech", { method: "POST", body: JSON.stringify(body) });
  const bytes = new Uint8Array(await answer.arrayBuffer());
  let text = "";
  for (let i = 0; i < bytes.length; i += 4096) text += String.fromCharCode(...bytes.subarray(i, i + 4096));
  const bad = await fetch("./v1/audio/speech", { method: "POST", body: JSON.stringify({ ...body, input: "" }) });
  const stats = await engine.chat.completions.create({ messages: [{ role: "user", content: "hi" }], max_tokens: 2 });
  return { chunks, pcm: (await sound.arrayBuffer()).byteLength, wrong, type: answer.headers.get("content-type"),
    wav: btoa(text), status: [answer.status, bad.status], param: (await bad.json()).error.param,
    chatted: stats.usage.completion_tokens };
}"""


@pytest.mark.long
def test_a_browser_speaks(tabs, voiced_site):
    tab = open_engine(tabs, voiced_site)
    found = tab.page.evaluate(SPEAK)
    made = sum(found["chunks"])
    assert len(found["chunks"]) > 3 and made % 1764 == 0 and made > 22050
    assert found["pcm"] == 2 * made, "the same seed says the same"
    assert (found["type"], found["status"]) == ("audio/wav", [200, 400])
    assert (found["wrong"], found["param"], found["chatted"]) == ("E_BAD_REQUEST", "input", 2)
    with wave.open(io.BytesIO(base64.b64decode(found["wav"]))) as file:
        assert (file.getframerate(), file.getnframes()) == (22050, made)
