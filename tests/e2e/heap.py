"""Heap of a page and of all its workers, sampled over CDP: V8's used size and what its array buffers and wasm memories hold."""
import json

PERIOD_MS = 100


class HeapWatch:
    """`sample()` -> bytes now; `peak(while_waiting)` -> the highest sample until `while_waiting()` is true."""

    def __init__(self, page):
        self._page = page
        self._session = page.context.new_cdp_session(page)
        self._workers, self._answers, self._next = set(), {}, 0
        self._session.on("Target.attachedToTarget", lambda e: self._workers.add(e["sessionId"]))
        self._session.on("Target.detachedFromTarget", lambda e: self._workers.discard(e["sessionId"]))
        self._session.on("Target.receivedMessageFromTarget", self._received)
        self._session.send("Target.setAutoAttach", {"autoAttach": True, "waitForDebuggerOnStart": False, "flatten": False})

    def _received(self, event):
        answer = json.loads(event["message"])
        self._answers[answer.get("id")] = answer.get("result")

    def _worker_heap(self, session_id):
        self._next += 1
        number = self._next
        message = json.dumps({"id": number, "method": "Runtime.getHeapUsage"})
        self._session.send("Target.sendMessageToTarget", {"sessionId": session_id, "message": message})
        for _ in range(100):
            if number in self._answers:
                return self._answers.pop(number)
            self._page.wait_for_timeout(5)
        return None

    def sample(self):
        heaps = [self._session.send("Runtime.getHeapUsage")] + [self._worker_heap(w) for w in list(self._workers)]
        assert len(heaps) > 1 and None not in heaps, "a worker did not answer"
        return sum(h["usedSize"] + h.get("backingStorageSize", 0) for h in heaps)

    def collect_garbage(self):
        self._session.send("HeapProfiler.collectGarbage")
        for worker in self._workers:
            self._next += 1
            message = json.dumps({"id": self._next, "method": "HeapProfiler.collectGarbage"})
            self._session.send("Target.sendMessageToTarget", {"sessionId": worker, "message": message})

    def peak(self, done):
        highest = self.sample()
        while not done():
            self._page.wait_for_timeout(PERIOD_MS)
            highest = max(highest, self.sample())
        return highest
