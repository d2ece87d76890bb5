"""A tablet's way in, in a real browser: plain http on a network address says what to do, https with
this machine's own authority is a secure context in which the engine runs, and the page that
explains trust leads on once it is trusted."""

import base64
import hashlib
import shutil
import threading

import pytest
from playwright.sync_api import expect

from app.build import browsers, lan, server
from tests.support import link_site

pytest.importorskip("cryptography", reason="cryptography is not installed")

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.build import certificates, https

pytest_plugins = ["tests.browser.page_kit"]

TINY = "models-tiny/llama"
PUBLIC = next((ip for ip in lan.addresses() if ":" not in ip), None)
# Without a network address a name for loopback stands in: browsers trust neither.
NAME = PUBLIC or "tablet.test"
HOST = PUBLIC or "127.0.0.1"
WRITE = """async () => {
    const { createEngine } = await import("./jird.js");
    const engine = await createEngine({ model: "./tiny/", quant: "keep", kv: "f32", context: 64 });
    const body = { prompt: [1, 2, 3], temperature: 0, max_tokens: 3, return_token_ids: true };
    const answer = await engine.completions.create(body);
    return { ids: answer.choices[0].token_ids, secure: isSecureContext,
        storage: typeof navigator.storage?.getDirectory, gpu: Boolean(navigator.gpu) };
}"""


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    names = lan.names(HOST) if PUBLIC else lan.names(NAME)
    return certificates.ensure(tmp_path_factory.mktemp("https"), names)


@pytest.fixture(scope="module")
def open_browser(browser_type, browser_type_launch_args, browser_name, own):
    """open_browser(trusting) -> a page in an own Chromium that trusts the authority, or not."""
    if browser_name != "chromium":
        pytest.skip("needs Chromium's switches")
    certificate = x509.load_pem_x509_certificate(own.chain.read_bytes())
    public = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    spki = base64.b64encode(hashlib.sha256(public).digest()).decode()
    opened = []

    def start(trusting):
        args = [*browsers.CHROMIUM_ARGS, "--host-resolver-rules=MAP tablet.test 127.0.0.1"]
        args += [f"--ignore-certificate-errors-spki-list={spki}"] if trusting else []
        proxy = dict(browser_type_launch_args["proxy"])
        proxy["bypass"] += f",{NAME}"
        browser = browser_type.launch(**browser_type_launch_args | {"args": args, "proxy": proxy})
        opened.append(browser)
        return browser.new_context(service_workers="block").new_page()

    yield start
    for browser in opened:
        browser.close()


@pytest.fixture
def over_https(dist, goldens, tmp_path, own):
    """(https address, help page's address) of the site with a tiny model, not the shipped one."""
    root = tmp_path / "site"
    link_site(dist, root)
    shutil.copytree(goldens / TINY, root / "tiny")
    names = lan.names(HOST) if PUBLIC else lan.names(NAME)
    servers = https.make_servers(server.Site(root), HOST, 0, own, names)
    for each in servers:
        threading.Thread(target=each.serve_forever, args=(0.05,), daemon=True).start()
    port = servers[0].server_address[1]
    yield f"https://{NAME}:{port}/", f"http://{NAME}:{port + 1}/"
    for each in servers:
        each.shutdown()
        each.server_close()


def test_https_is_a_secure_context_and_the_engine_runs(open_browser, over_https, goldens):
    site, help_url = over_https
    page = open_browser(trusting=True)
    page.goto(help_url)  # trusted already: it leads on by itself
    page.wait_for_url(site)
    expect(page.get_by_test_id("start")).to_be_visible()
    expect(page.get_by_test_id("error")).to_be_hidden()
    page.goto(site + "tiny/config.json")  # a page of the same origin without the app
    result = page.evaluate(WRITE.replace('"./', f'"{site}'))
    assert (result["secure"], result["storage"], result["gpu"]) == (True, "function", True)
    assert len(result["ids"]) == 3


def test_the_help_page_stays_while_the_authority_is_not_trusted(open_browser, over_https):
    site, help_url = over_https
    page = open_browser(trusting=False)
    with page.expect_event("requestfailed", lambda r: r.url == site + "version.json"):
        page.goto(help_url)
    expect(page.get_by_role("heading", name="Trust this Jird server")).to_be_visible()
    expect(page.get_by_role("link", name="Open Jird")).to_have_attribute("href", site)
    expect(page.locator("#linux")).to_have_attribute("open", "")
    expect(page.locator("#ios")).not_to_have_attribute("open", "")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == "jird-ca.crt"
    assert download.value.path().read_bytes() == own_ca(help_url)
    assert page.url == help_url


def own_ca(help_url):
    import urllib.request

    address = help_url.replace(NAME, HOST) + "jird-ca.crt"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return opener.open(address).read()


def test_a_plain_network_address_says_what_to_do(open_browser, page_root):
    """What an iPad sees at http://<address>: the code, why, both ways out; nothing is loaded."""
    site = server.Site(page_root)
    http = server.make_server(site, HOST, 0)
    threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True).start()
    try:
        page = open_browser(trusting=False)
        page.goto(f"http://{NAME}:{http.server_address[1]}/")
        assert page.evaluate("isSecureContext") is False
        error = page.get_by_test_id("error")
        for words in ("E_INSECURE_CONTEXT", "serve --https", "http://localhost", "over https"):
            expect(error).to_contain_text(words)
        expect(page.get_by_test_id("start")).to_be_hidden()
        assert not any("jird.js" in request.path for request in site.log)
    finally:
        http.shutdown()
        http.server_close()
