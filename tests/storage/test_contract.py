"""One contract, four back ends, in a real browser's worker."""

import pytest

RUN = """(name) => new Promise((resolve, reject) => {
  const worker = new Worker(`/_test/contract_worker.js?backend=${name}`, { type: "module" });
  worker.onmessage = ({ data }) => (worker.terminate(), resolve(data));
  worker.onerror = (error) => reject(new Error(error.message));
})"""


@pytest.mark.parametrize("backend", ["opfs-sync", "opfs-async", "indexeddb", "memory"])
def test_contract(lab, backend):
    results = lab.open().run(RUN, backend)
    assert len(results) >= 13
    assert {row["name"]: row["error"] for row in results if row["error"]} == {}
