"""The shell in WebKitGTK, Safari's engine without WebGPU: it loads, explains, keeps chats, and
starts without the server."""

WELCOME_STATE = "document.querySelector('#welcome').dataset.state"


def test_the_page_loads_and_says_plainly_that_webgpu_is_missing(tab):
    tab.open()
    assert tab.driver.title == "Jird"
    assert tab.until(f"{WELCOME_STATE} === 'failed' && {WELCOME_STATE}")
    error = tab.get("error")
    for words in ("This browser has no WebGPU", "Safari 26", "E_NO_WEBGPU"):
        assert words in error
    assert tab.get("status") == "Not running"
    heavy = ("jird.js", "pyodide/", "models/")
    page_asked = tab.eval("performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert page_asked and not any(name in url for url in page_asked for name in heavy)
    assert all(url.startswith(tab.app.url) for url in page_asked)
    assert tab.errors() == []


def test_the_engines_worker_answers_with_the_same_code(tab):
    tab.open()
    reply = tab.run("""
        const worker = new Worker("./engine_worker.js", { type: "module" });
        const reply = new Promise((resolve) => (worker.onmessage = ({ data }) => resolve(data)));
        worker.postMessage({ v: 1, id: "x", method: "unload", params: {} });
        return reply.finally(() => worker.terminate());""")
    assert (reply["event"], reply["data"]["code"]) == ("error", "E_NO_WEBGPU")
    assert reply["data"]["next_step"]


def test_chats_are_kept_listed_and_opened(tab):
    tab.open()
    kept = tab.run("""
        const { openChatStore } = await import("./js/ui/chat_store.js");
        const store = await openChatStore();
        const chat = { id: "c1", title: "Rodents", created: 1, updated: Date.now(), leaf: "m2" };
        const message = (id, parent, role, text) =>
          ({ id, chat: "c1", parent, role, text, created: id === "m1" ? 1 : 2, state: "done" });
        await store.save(chat, [message("m1", null, "user", "Name one."),
                                message("m2", "m1", "assistant", "A **jird**.")]);
        return store.persistent;""")
    assert kept is True
    tab.open()
    tab.until("document.querySelector('[data-testid=chat-list] a')")
    assert tab.eval("document.querySelector('[data-testid=chat-list] a').textContent") == "Rodents"
    tab.click("[data-testid=chat-list] a")
    tab.until("document.querySelector('[data-testid=message-assistant] strong')")
    assert tab.get("message-user").endswith("Name one.")
    assert tab.eval("document.querySelector('.md strong').innerText") == "jird"
    assert tab.errors() == []


def test_it_starts_without_the_server_python_included(tab):
    tab.open().controlled()
    tab.app.cut()
    tab.open()
    tab.until("document.querySelector('#offline').hidden === false")
    assert "E_NO_WEBGPU" in tab.get("error")
    version = tab.run("""
        const { loadPyodide } = await import("./pyodide/pyodide.mjs");
        const indexURL = new URL("pyodide/", document.baseURI).href;
        const pyodide = await loadPyodide({ indexURL, packages: ["jird"] });
        return pyodide.pyimport("pyengine").__version__;""")
    assert version.count(".") == 2
    assert tab.errors() == []


def test_the_panel_of_requests_and_no_install_guide_on_a_desktop(tab):
    tab.open()
    assert tab.get("install") is None
    tab.click("#privacy")
    assert tab.eval("document.querySelector('#privacy-panel').open") is True
    host = tab.app.url.split("/")[2]
    assert f"requests to this site ({host}), none to any other" in tab.get("requests-summary")
    assert "js/ui/pwa.js" in tab.get("requests")
    assert tab.errors() == []


def test_the_models_page_lists_what_its_fallback_keeps(tab):
    """WebKitGTK refuses sync handles: the page works on the next back end and says which."""
    tab.open()
    tab.run("""
        const { StorageClient } = await import("./js/storage/client.js");
        const client = StorageClient.start(new URL("storage_worker.js", document.baseURI));
        const bytes = new Uint8Array(5e6).fill(7);
        const files = [{ name: "mine.gguf", file: new File([bytes], "mine.gguf") }];
        await client.call("import", { id: "local:mine", name: "mine", files });
        client.terminate();""")
    tab.open("#models")
    tab.until("document.querySelector('[data-testid=stored] .model')")
    assert "5.0 MB · your own file" in tab.get("stored").replace("\xa0", " ")
    tab.until("document.querySelector('[data-testid=backend]')?.innerText")
    backend = tab.get("backend")
    assert "Stored in" in backend and "Not used here: opfs-sync" in backend
    assert "gone when this tab closes" not in backend
    tab.click("[data-testid=stored] [data-action=verify]")
    tab.until("document.querySelector('[data-testid=check-result]').innerText.includes('every')")
    tab.click("[data-testid=stored] [data-action=remove]")
    tab.click("[data-testid=confirm-yes]")
    tab.until("document.querySelectorAll('[data-testid=stored] .model').length === 0")
    assert tab.errors() == []


def test_the_device_check_says_what_works_without_a_gpu(tab):
    """All but WebGPU, with a tiny model on the reference device in the GPU's place."""
    tab.open()
    tab.driver.get(tab.app.url + "check.html?device=reference")
    tab.until("document.querySelector('#check-start')?.disabled === false")
    tab.click("#check-start")
    tab.until("document.querySelector('#check-result').hidden === false")
    states = tab.eval("Object.fromEntries([...document.querySelectorAll('#check-rows li')].map("
                      "(row) => [row.dataset.testid.slice(6), row.dataset.state]))")
    fine = {"secure", "python", "store", "chats", "llama", "hybrid"}
    assert {row for row in fine if states[row] != "ok"} == set(), states
    assert states["gpu"] == "failed" and states["selftest"] == "skipped"
    assert states["handles"] in ("ok", "skipped")
    assert "E_NO_WEBGPU" not in tab.get("check-gpu") and "WebGPU" in tab.get("check-gpu")
    assert '"backend":"numpy"' in tab.get("check-report")
