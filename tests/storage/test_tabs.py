"""Two tabs at once: one writer, the same progress in both, and a tab that takes over."""

import pytest

from tests.storage.conftest import Lab, data
from tests.storage.hub_server import Fault
from tests.storage.test_faults import FILE, SIZE, complete, fails


@pytest.fixture
def tabs(context, lab_url, hub):
    """Both in the middle of one download, which ends once the hub is released."""
    hub.files = {FILE: data(SIZE, 2)}
    hub.hold(2)
    both = [Lab(context.new_page(), lab_url, hub) for _ in range(2)]
    for tab in both:
        tab.start()
    one, two = both
    one.begin(one.spec(FILE))
    one.until("() => lab.running.progress?.bytes_done > 0")
    two.begin(two.spec(FILE))
    two.until("() => lab.running.progress?.bytes_done > 0")
    return one, two


def test_the_second_tab_sees_the_same_progress(tabs, hub):
    hub.release()
    for tab in tabs:
        assert tab.settled()["result"]["state"] == "complete"
        complete(tab, {"result": {"state": "complete"}})
    assert hub.chunks(FILE) == {0: 1, 1: 1, 2: 1, 3: 1}


def test_the_second_tab_takes_over(tabs, hub):
    one, two = tabs
    one.page.close()
    hub.release()
    complete(two, two.settled())
    # A chunk that was under way is lost with its tab, at most one per range; no other comes twice.
    assert sum(hub.chunks(FILE).values()) <= 4 + 4


@pytest.mark.parametrize("how", ["pause", "cancel"])
def test_the_second_tab_stops_it_for_both(tabs, how):
    tabs[1].call(how, id="a/model")
    states = {tab.settled()["result"]["state"] for tab in tabs}
    assert states == {{"pause": "paused", "cancel": "cancelled"}[how]}
    assert len(tabs[0].call("list")["result"]) == (1 if how == "pause" else 0)


def test_the_second_tab_hears_of_the_failure(tabs, hub):
    hub.fault = lambda asked: Fault(status=404)
    hub.files[FILE] = data(SIZE, 7)  # so that the ranges under way are asked for again
    hub.released.set()
    for tab in tabs:
        fails(tab.settled(), "E_NETWORK", status=404)


def test_delete_while_the_other_tab_reads(tabs, hub):
    one, two = tabs
    hub.release()
    one.settled(), two.settled()
    two.run("async () => { globalThis.model = await lab.client().openModel('a/model'); }")
    one.call("delete", id="a/model")
    assert two.call("list")["result"] == []
    error = two.run(
        """() => globalThis.model.files.get("model.gguf").read(0, 7)
                .then(String, (error) => error.toJSON())"""
    )
    assert error["code"] in ("E_CORRUPT_SHARD", "E_NOT_STORED")


WATCH = """() => {
    globalThis.seen = [];
    lab.client().onActivity = (state) => globalThis.seen.push(state);
}"""


def test_every_tab_hears_of_any_transfer_and_check(tabs, hub):
    """A tab that asked for nothing hears the same: downloads, and a check with its damage."""
    one, _ = tabs
    third = Lab(one.page.context.new_page(), one.url, hub)
    third.start()
    third.run(WATCH)
    assert third.call("list")["result"][0]["busy"]
    hub.release()
    third.until("() => seen.some((s) => s.stage === 'download' && s.bytes_done > 0)")
    one.settled()
    one.run("([path]) => lab.damage(path, 'flip', 5)", ["models/a%2Fmodel/files/model.gguf"])
    third.run("() => void seen.splice(0)")
    assert not one.call("verify", id="a/model")["result"]["ok"]
    third.until(f"() => seen.some((s) => s.stage === 'verify' && s.bytes_done === {SIZE})")
    assert third.call("list")["result"][0]["state"] == "damaged"
