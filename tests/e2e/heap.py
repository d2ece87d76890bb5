"""Heap of a page and of all its workers, sampled over CDP: V8's used size and what its array buffers and wasm memories hold."""
import json

PERIOD_MS = 100
LIMIT = 64 << 20   # what a load may add, whatever the model's size
START = """() => {
    globalThis.worker = new Worker("./engine_worker.js", { type: "module" });
    globalThis.heard = [];
    worker.onmessage = ({ data }) => heard.push(data);
    worker.postMessage({ v: 1, id: "idle", method: "unload", params: {} });
}"""
SEND = "([id, method, params]) => worker.postMessage({ v: 1, id, method, params })"
ANSWERED = "(id) => heard.find((m) => m.id === id && m.event !== 'progress')"


def growth_of_a_load(page, model, **options):
    """Bytes that loading `model` in a worker of its own adds to the heaps at their highest, over
    the idle engine (Python up, no model). The model answers once, so that it did load."""
    page.evaluate(START)
    while not page.evaluate(ANSWERED, "idle"):
        page.wait_for_timeout(PERIOD_MS)
    watch = HeapWatch(page)
    page.wait_for_timeout(300)
    watch.collect_garbage()
    page.wait_for_timeout(300)
    idle = watch.sample()
    page.evaluate(SEND, ["load", "load", {"model": model, **options}])
    peak = watch.peak(lambda: page.evaluate(ANSWERED, "load"))
    answer = page.evaluate(ANSWERED, "load")
    assert answer["event"] == "result", answer
    page.evaluate(SEND, ["one", "complete", {"prompt": [1], "max_tokens": 1, "return_token_ids": True}])
    while not page.evaluate(ANSWERED, "one"):
        page.wait_for_timeout(PERIOD_MS)
    assert page.evaluate(ANSWERED, "one")["event"] == "result", page.evaluate(ANSWERED, "one")
    page.evaluate("worker.terminate()")
    print(f"idle {idle / 1e6:.1f} MB, growth {(peak - idle) / 1e6:.1f} MB")
    return peak - idle


class HeapWatch:
    """`sample()` -> bytes now; `peak(while_waiting)` -> the highest sample until `while_waiting()` is true."""

    def __init__(self, page):
        self._page = page
        self._session = page.context.new_cdp_session(page)
        self._workers, self._answers, self._next = {}, {}, 0  # session -> address of its script
        self._session.on("Target.attachedToTarget",
                         lambda e: self._workers.update({e["sessionId"]: e["targetInfo"]["url"]}))
        self._session.on("Target.detachedFromTarget", lambda e: self._workers.pop(e["sessionId"], None))
        self._session.on("Target.receivedMessageFromTarget", self._received)
        self._session.send("Target.setAutoAttach", {"autoAttach": True, "waitForDebuggerOnStart": False, "flatten": False})

    def _received(self, event):
        answer = json.loads(event["message"])
        self._answers[answer.get("id")] = answer.get("result")

    def _ask(self, worker, method):
        """Its result, or None once the worker is gone."""
        self._next += 1
        number = self._next
        message = json.dumps({"id": number, "method": method})
        self._session.send("Target.sendMessageToTarget", {"sessionId": worker, "message": message})
        while number not in self._answers:
            if worker not in self._workers:
                return None
            self._page.wait_for_timeout(5)
        return self._answers.pop(number)

    def sample(self):
        heaps = [self._session.send("Runtime.getHeapUsage")]
        heaps += [self._ask(worker, "Runtime.getHeapUsage") for worker in list(self._workers)]
        assert len(heaps) > 1 and None not in heaps, "a worker did not answer"
        return sum(h["usedSize"] + h.get("backingStorageSize", 0) for h in heaps)

    def of_worker(self, script):
        """Bytes of the one worker of that script: V8's heap, Blink's objects and what buffers hold."""
        (worker,) = [worker for worker, url in self._workers.items() if script in url]
        heap = self._ask(worker, "Runtime.getHeapUsage")
        return heap["usedSize"] + heap["embedderHeapUsedSize"] + heap["backingStorageSize"]

    def collect_garbage(self):
        """In the page and in every worker; done when this returns."""
        self._session.send("HeapProfiler.collectGarbage")
        for worker in list(self._workers):
            self._ask(worker, "HeapProfiler.collectGarbage")

    def peak(self, done):
        highest = self.sample()
        while not done():
            self._page.wait_for_timeout(PERIOD_MS)
            highest = max(highest, self.sample())
        return highest
