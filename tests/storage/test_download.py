"""Downloads of the storage worker from a server that behaves."""

from tests.storage.conftest import data

CHUNK = 4 << 20


def test_download_reads_back_as_the_source(lab, hub):
    hub.files = {"m/model.gguf": data(2 * CHUNK + 769, 1), "m/config.json": b"{}", "m/empty": b""}
    info = lab.start()["result"]
    assert info["backend"] == "opfs-sync" and info["durable"] and info["refused"] == []
    spec = lab.spec(*hub.files)
    answer = lab.download(spec)
    assert answer.get("result"), answer
    assert answer["result"]["state"] == "complete"
    assert lab.digests() == lab.wanted(*hub.files)
    assert hub.chunks("m/model.gguf") == {0: 1, 1: 1, 2: 1}
    again = lab.download(spec)
    assert again["result"]["state"] == "complete" and hub.chunks("m/model.gguf") == {
        0: 1,
        1: 1,
        2: 1,
    }
