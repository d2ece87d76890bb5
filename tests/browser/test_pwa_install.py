"""Installability: Chromium's own verdict, the manifest's truth, icons, splash screens, guide."""
import json
import struct
from pathlib import PurePosixPath
from urllib.parse import urljoin

import pytest
from playwright.sync_api import expect

from app.build import images, settings
from tests.browser.pwa_kit import Tab
from tests.support import WAIT_MS

pytest_plugins = ["tests.browser.page_kit", "tests.browser.pwa_kit"]

SAFARI = "Mozilla/5.0 ({}) AppleWebKit/605.1.15 (KHTML, like Gecko) {} Safari/605.1.15"
IPAD = SAFARI.format("Macintosh; Intel Mac OS X 10_15_7", "Version/26.1")
IPHONE = SAFARI.format("iPhone; CPU iPhone OS 18_7 like Mac OS X", "Version/26.1 Mobile/15E148")
IOS_CHROME = SAFARI.format("iPad; CPU OS 18_7 like Mac OS X", "CriOS/141.0.0.0 Mobile/15E148")
WEB_VIEW = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) AppleWebKit/605.1.15 Mobile"


def png_size(path):
    """(width, height) that a PNG's header states."""
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n" and head[12:16] == b"IHDR", path
    return struct.unpack(">II", head[16:24])


@pytest.fixture
def profile(browser_type, browser_type_launch_args, tmp_path):
    """A context with a profile of its own: what a private window has can never be installed."""
    context = browser_type.launch_persistent_context(
        str(tmp_path / "profile"), service_workers="allow", **browser_type_launch_args)
    context.set_default_timeout(WAIT_MS)
    yield context
    context.close()


def test_chromium_finds_nothing_against_installing(shell_app, profile, browser_name, outside):
    if browser_name != "chromium":
        pytest.skip("the DevTools protocol's verdict is Chromium's")
    app = shell_app
    tab = Tab(profile, app.url).controlled()
    devtools = profile.new_cdp_session(tab.page)
    assert devtools.send("Page.getInstallabilityErrors")["installabilityErrors"] == []
    found = devtools.send("Page.getAppManifest")
    assert found["errors"] == [] and found["url"] == app.url + "manifest.webmanifest"
    # No id is given: the default is start_url, so that two copies on one origin are two apps.
    assert devtools.send("Page.getAppId")["appId"] == app.url
    shown = found["manifest"]
    assert (shown["startUrl"], shown["scope"]) == (app.url, app.url)
    app.cut()
    answer = tab.page.goto(shown["startUrl"])
    assert answer.status == 200 and answer.from_service_worker
    assert tab.errors == [] and outside == []


def test_the_manifest_states_what_is_there(dist):
    manifest = json.loads((dist / "manifest.webmanifest").read_text())
    for field in ("name", "short_name", "description", "categories", "theme_color",
                  "background_color", "icons", "screenshots"):
        assert manifest[field], field
    assert manifest["display"] == "standalone"
    assert (manifest["start_url"], manifest["scope"]) == ("./", "./") and "id" not in manifest
    assert len(manifest["short_name"]) <= 12
    for row in manifest["icons"] + manifest["screenshots"]:
        assert not PurePosixPath(row["src"]).is_absolute()
        if row["type"] == "image/png":
            assert "x".join(map(str, png_size(dist / row["src"]))) == row["sizes"]
    icons = {(icon["sizes"], icon["purpose"]) for icon in manifest["icons"]}
    assert {("192x192", "any"), ("512x512", "any"), ("512x512", "maskable")} <= icons
    assert {row["form_factor"] for row in manifest["screenshots"]} == {"wide", "narrow"}
    for row in manifest["screenshots"]:                       # Chromium's limits
        short, long = sorted(map(int, row["sizes"].split("x")))
        assert 320 <= short and long <= 3840 and long <= 2.3 * short
    assert png_size(dist / "img/apple-touch-icon.png") == (180, 180)


def test_colours_are_the_pages(dist):
    manifest = json.loads((dist / "manifest.webmanifest").read_text())
    page = (dist / "index.html").read_text()
    light, dark = (f"#{bytes(images.BACKGROUNDS[theme][:3]).hex()}" for theme in ("light", "dark"))
    assert manifest["background_color"] == manifest["theme_color"] == light
    assert set(manifest["color_scheme_dark"].values()) == {dark}
    for colour, theme in ((light, "light"), (dark, "dark")):
        assert f'content="{colour}" media="(prefers-color-scheme: {theme})"' in page
    assert f"--bg: light-dark({light}, {dark})" in (dist / "css/base.css").read_text()


def test_maskable_icon_fills_its_square_and_keeps_to_the_safe_circle(page, site):
    page.goto(site.url)
    corner, outside_green = page.evaluate("""async () => {
      const image = new Image();
      image.src = "./img/icon-512-maskable.png";
      await image.decode();
      const context = new OffscreenCanvas(512, 512).getContext("2d");
      context.drawImage(image, 0, 0);
      const { data } = context.getImageData(0, 0, 512, 512);
      const pixel = (i) => data.slice(4 * i, 4 * i + 4).join();
      let other = 0;
      for (let y = 0; y < 512; y++)
        for (let x = 0; x < 512; x++)
          if (Math.hypot(x - 255.5, y - 255.5) > 204 && pixel(512 * y + x) !== pixel(0)) other++;
      return [pixel(0), other];
    }""")
    assert corner == "15,122,90,255" and outside_green == 0


def test_splash_screens_are_there_for_every_listed_device_and_small(dist):
    folder = dist / "img/splash"
    expected = {name: (width, height) for name, width, height, _ in images.splash_names()}
    assert {path.name for path in folder.iterdir()} == set(expected)
    for name, size in expected.items():
        assert png_size(folder / name) == size, name
    made = [p for p in (settings.SHELL / "img").rglob("*.png")]
    assert sum(path.stat().st_size for path in made) < 300_000


def apple(context, agent, touch, standalone=False, size=(820, 1180)):
    """A page that takes its browser for Apple's."""
    tab = Tab(context)
    facts = {"userAgent": agent, "maxTouchPoints": touch, "standalone": standalone}
    screen = {"width": size[0], "height": size[1]}
    tab.page.add_init_script(f"""
      const define = (target, values) => {{
        for (const [name, value] of Object.entries(values))
          Object.defineProperty(target, name, {{ get: () => value, configurable: true }});
      }};
      define(Navigator.prototype, {json.dumps(facts)});
      define(Screen.prototype, {json.dumps(screen)});
      define(globalThis, {{ devicePixelRatio: 2 }});""")
    return tab


@pytest.fixture
def shell(context, page_root, serve):
    served = serve(page_root, "/shell/")
    context.set_default_timeout(WAIT_MS)
    return context, served.url


@pytest.mark.parametrize("agent, touch, standalone, applies", [
    (IPAD, 5, False, True), (IPHONE, 5, False, True), (IPAD, 0, False, False),
    (IPAD, 5, True, False), (IOS_CHROME, 5, False, False), (WEB_VIEW, 5, False, False)],
    ids=["ipad", "iphone", "mac", "installed", "ios-chrome", "web-view"])
def test_the_guide_is_shown_only_where_it_applies(shell, agent, touch, standalone, applies):
    context, url = shell
    tab = apple(context, agent, touch, standalone)
    tab.page.goto(url)
    expect(tab.get("privacy")).to_be_enabled()                # all is set up
    expect(tab.get("install")).to_have_count(int(applies))
    if applies:
        for words in ("Tap Share", "Add to Home Screen", "may delete what a site stored"):
            expect(tab.get("install")).to_contain_text(words)
    assert tab.errors == []


def test_the_guide_put_away_stays_away(shell):
    context, url = shell
    tab = apple(context, IPAD, 5)
    tab.page.goto(url)
    tab.get("install").get_by_role("button", name="Do not show this again").click()
    expect(tab.get("install")).to_have_count(0)
    tab.page.reload()
    expect(tab.get("privacy")).to_be_enabled()
    expect(tab.get("install")).to_have_count(0)


@pytest.mark.parametrize("agent, size, count", [(IPAD, (820, 1180), 4), (IPHONE, (393, 852), 2)])
def test_the_devices_own_splash_screens_are_linked(shell, page_root, agent, size, count):
    context, url = shell
    tab = apple(context, agent, 5, size=size)
    tab.page.goto(url)
    links = tab.page.locator("link[rel=apple-touch-startup-image]")
    expect(links).to_have_count(count)
    for link in links.all():
        name = urljoin(url, link.get_attribute("href")).removeprefix(url)
        media = link.get_attribute("media")
        file = page_root / name.replace("@2-", "@3-" if size[0] < 600 else "@2-")
        width, height = png_size(file)
        assert ("landscape" in media) == (width > height)
        assert ("dark" in media) == ("dark" in name)


def test_the_browsers_offer_to_install_becomes_a_button(shell):
    context, url = shell
    tab = Tab(context, url)
    expect(tab.get("privacy")).to_be_enabled()
    expect(tab.get("install")).to_have_count(0)
    offer = """() => {
      const event = new Event("beforeinstallprompt", { cancelable: true });
      event.prompt = async () => (globalThis.prompted = (globalThis.prompted ?? 0) + 1);
      dispatchEvent(event);
      return event.defaultPrevented;
    }"""
    assert tab.page.evaluate(offer) is True
    tab.get("install").get_by_role("button", name="Install", exact=True).click()
    assert tab.until("globalThis.prompted") == 1
    expect(tab.get("install")).to_have_count(0)
    tab.page.evaluate(offer)
    expect(tab.get("install")).to_be_visible()
    tab.page.evaluate("dispatchEvent(new Event('appinstalled'))")
    expect(tab.get("install")).to_have_count(0)
    assert tab.errors == []


def test_ios_is_told_that_this_is_an_app_and_where_the_screen_is_safe(dist):
    page = (dist / "index.html").read_text()
    for tag in ('name="apple-mobile-web-app-capable" content="yes"', "viewport-fit=cover",
                'rel="apple-touch-icon" href="./img/apple-touch-icon.png"',
                'rel="manifest" href="./manifest.webmanifest"'):
        assert tag in page
    style = "".join(path.read_text() for path in (dist / "css").glob("*.css"))
    for side in ("top", "right", "bottom", "left"):
        assert f"env(safe-area-inset-{side})" in style
