"""The page with a microphone that plays a file: `talking(path)` -> ChatPage, in a browser of its own.

What the page opens for sound is counted in `globalThis.opened`: tracks, contexts and audio nodes."""
import json

import numpy as np
import pytest

from tests.browser.page_kit import PREFIX, ChatPage
from tests.speech import voice, write_wav

FAKE_DEVICE = "--use-fake-device-for-media-stream"
WATCH = """(() => {
  const opened = (globalThis.opened = { tracks: [], contexts: [], nodes: [] });
  const media = navigator.mediaDevices;
  const get = media.getUserMedia.bind(media);
  media.getUserMedia = async (wanted) => {
    globalThis.wanted = wanted;
    const stream = await get(wanted);
    opened.tracks.push(...stream.getTracks());
    return stream;
  };
  for (const [kind, list] of [["AudioContext", "contexts"], ["AudioWorkletNode", "nodes"]]) {
    globalThis[kind] = class extends globalThis[kind] {
      constructor(...given) {
        super(...given);
        opened[list].push(this);
      }
    };
  }
  globalThis.stillOpen = () => opened.tracks.filter((track) => track.readyState === "live").length
    + opened.contexts.filter((context) => context.state !== "closed").length;
})();"""


@pytest.fixture(scope="session")
def speech(tmp_path_factory):
    """Two seconds of silence, two of speech, three of silence; the fake microphone begins it anew."""
    pause = np.zeros(16_000, np.float32)
    sound = np.concatenate([pause, pause, voice(2.0), pause, pause, pause])
    return write_wav(tmp_path_factory.mktemp("speech") / "speech.wav", sound)


@pytest.fixture
def talking(browser_type, browser_type_launch_args, page_root, serve):
    """`path` None: a browser without any device; `allowed` False: the person refuses."""
    opened = []

    def start(path=None, allowed=True, viewport=None, **options):
        args = list(browser_type_launch_args["args"]) + ["--autoplay-policy=no-user-gesture-required"]
        if path:
            args += [FAKE_DEVICE, f"--use-file-for-fake-audio-capture={path}"]
        browser = browser_type.launch(**browser_type_launch_args | {"args": args})
        context = browser.new_context(service_workers="block",
                                      permissions=["microphone"] if allowed else [],
                                      viewport=viewport or {"width": 1000, "height": 800})
        context.add_init_script(WATCH)
        kit = ChatPage(context.new_page(), serve(page_root, PREFIX).url)
        opened.append((browser, kit))
        return kit.open(**options)

    yield start
    for browser, kit in opened:
        kit.check()
        browser.close()


def nothing_left(kit):
    """Whatever the page opened for sound is closed."""
    kit.until("stillOpen() === 0")
    used = json.loads(kit.page.evaluate(
        "JSON.stringify([opened.tracks.length, opened.contexts.length, opened.nodes.length])"))
    assert used[1] and used[2], used
