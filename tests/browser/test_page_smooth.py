"""The page stays responsive and leaks nothing: task lengths and frame gaps, counts over chats."""
import json

import pytest

pytest_plugins = ["tests.browser.page_kit"]

TOKENS = 600
LIMIT_MS = 50
# Tests run beside others on few cores, and a task's length is wall time: another program's share
# counts too. The page is at fault only where it is slow each time.
ATTEMPTS = 3

WATCH = """globalThis.tasks = []; globalThis.gaps = []; globalThis.marks = {};
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) tasks.push([entry.startTime, entry.duration]);
}).observe({ type: "longtask", buffered: true });
{ let last = performance.now();
  const tick = (now) => { gaps.push([last, now - last]); last = now; requestAnimationFrame(tick); };
  requestAnimationFrame(tick);
  // A timer chain sees what a frame does not: how late the thread answers between frames.
  globalThis.late = []; const step = () => { const due = performance.now() + 4;
    setTimeout(() => { late.push([due, performance.now() - due]); step(); }, 4); }; step(); }
"""


def recording():
    """About 600 tokens: prose, lists, a table and code blocks of several sizes."""
    code = "\n".join(f"    if value_{i} in seen: total += weigh('item {i}', {i})  # note {i}"
                     for i in range(12))
    parts = []
    for i in range(6):
        parts.append(f"## Part {i}\n\nSome **bold** prose with `code`, a [link](https://e.test) "
                     "that goes on for a line or two, as answers do.\n\n"
                     "- first *item*\n- second item\n  - nested\n")
        parts.append(f"```python\ndef part_{i}(seen):\n{code}\n    return total\n```\n")
    parts.append("| a | b |\n|---|---|\n| 1 | 2 |\n")
    text = "\n".join(parts)
    step = max(1, len(text) // TOKENS)
    return [text[i:i + step] for i in range(0, len(text), step)][:TOKENS]


def observes(chat):
    """A planted task of 80 ms is seen, so that silence means something."""
    return chat.page.evaluate("""async () => {
      await new Promise((r) => setTimeout(() => {
        const end = performance.now() + 80; while (performance.now() < end); r(); }, 20));
      await new Promise((r) => setTimeout(r, 300));
      return tasks.some(([, ms]) => ms >= 79);
    }""")


def measure(chat):
    chat.page.evaluate(
        "tasks.length = gaps.length = late.length = 0; marks.begin = performance.now()")
    chat.ask("go", wait=False)
    chat.page.locator("html:not([data-busy])").wait_for(state="attached", timeout=60_000)
    chat.page.wait_for_timeout(500)  # colours of the last block
    return chat.page.evaluate("""() => {
      const since = (rows) => rows.filter(([at]) => at > marks.begin).map((r) => Math.round(r[1]));
      const worst = (rows) => Math.max(0, ...since(rows));
      return { tasks: since(tasks), gap: worst(gaps), late: worst(late), frames: gaps.length,
               lit: document.querySelectorAll("[data-lit]").length };
    }""")


@pytest.mark.timeout(120)
def test_no_task_over_50_ms_on_a_stream_of_60_tokens_a_second(chat, record_property):
    pieces = recording()
    assert len(pieces) == TOKENS
    chat.page.add_init_script(WATCH)
    chat.open(pieces=pieces, perSecond=60)
    assert observes(chat)
    results = []
    for _ in range(ATTEMPTS):
        results.append(measure(chat))
        if not results[-1]["tasks"]:
            break
        chat.get("new-chat").click()
    print("main thread:", json.dumps(results))
    record_property("main_thread", json.dumps(results))
    assert results[-1]["lit"] >= 6
    assert min(max(result["tasks"], default=0) for result in results) <= LIMIT_MS


@pytest.mark.timeout(120)
def test_opening_a_long_chat_blocks_nothing(chat):
    """Fifty long answers, coloured code included, are rendered in slices."""
    chat.page.add_init_script(WATCH)
    chat.open(pieces=recording(), perSecond=1e5)
    chat.ask("one")
    chat.page.evaluate("""async () => {
      const { openChatStore } = await import("./js/ui/chat_store.js");
      const store = await openChatStore();
      const [chat] = await store.listChats();
      const messages = await store.listMessages(chat.id);
      let parent = chat.leaf, time = Date.now();
      const more = [];
      for (let i = 0; i < 50; i++) {
        for (const old of messages) {
          more.push({ ...old, id: `${old.id}-${i}`, parent, created: ++time });
          parent = more.at(-1).id;
        }
      }
      await store.save({ ...chat, leaf: parent }, more);
    }""")
    best = 1e9
    for _ in range(ATTEMPTS):
        chat.reload()
        chat.wait_state("ready")
        chat.page.evaluate("marks.begin = performance.now()")
        chat.until("document.querySelectorAll('[data-lit]').length >= 300", 60)
        tasks = chat.page.evaluate("tasks.map((r) => Math.round(r[1]))")
        print("opening a chat of 102 messages, tasks over 50 ms:", tasks)
        best = min(best, max(tasks, default=0))
        if best <= LIMIT_MS:
            break
    assert best <= LIMIT_MS


COUNT_TIMERS = """{ const live = new Set(); globalThis.liveTimers = live;
  for (const [set, clear] of [["setTimeout", "clearTimeout"], ["setInterval", "clearInterval"]]) {
    const original = globalThis[set], drop = globalThis[clear];
    globalThis[set] = (fn, ms, ...rest) => {
      const run = (...a) => { if (set === "setTimeout") live.delete(id); fn(...a); };
      const id = original(run, ms, ...rest);
      live.add(id); return id; };
    globalThis[clear] = (id) => { live.delete(id); drop(id); };
  } }"""


@pytest.mark.timeout(120)
def test_twenty_chats_leak_no_listeners_timers_or_nodes(chat):
    chat.page.add_init_script(COUNT_TIMERS)
    chat.open(pieces=recording()[:120], perSecond=2000, firstMs=1)
    session = chat.page.context.new_cdp_session(chat.page)
    session.send("Performance.enable")

    def rounds(count):
        for i in range(count):
            chat.ask(f"chat {i}")
            chat.chat_action("Delete chat")
            chat.page.locator("#messages:empty").wait_for(state="attached")
        chat.page.wait_for_timeout(700)
        session.send("HeapProfiler.collectGarbage")
        metrics = session.send("Performance.getMetrics")["metrics"]
        metrics = {metric["name"]: metric["value"] for metric in metrics}
        return {"listeners": metrics["JSEventListeners"], "nodes": metrics["Nodes"],
                "timers": chat.page.evaluate("liveTimers.size"),
                "elements": chat.page.evaluate("document.querySelectorAll('*').length")}

    before = rounds(4)
    after = rounds(20)
    print("leaks:", before, after)
    assert after["elements"] == before["elements"]
    assert after["listeners"] <= before["listeners"] + 2
    assert after["timers"] <= before["timers"] + 1
    assert after["nodes"] <= before["nodes"] + 200  # less than one chat's worth over 20 chats
