"""Icons and splash screens of the installed app, made from pwa_shell/img/logo.svg.

The PNGs are committed; run this again when the logo or a colour changes, or a new device comes:

    .venv/bin/python -m app.build.images

Chromium draws the logo at each size. Images have 16 colours, the ramps between the logo's own, so
that a whole splash screen takes two to four kB.
"""
import base64
import struct
import zlib

from app.build import browsers, settings

IMAGES = settings.SHELL / "img"
GREEN, WHITE = (15, 122, 90, 255), (244, 248, 245, 255)
CLEAR = (15, 122, 90, 0)
# The page's --bg, light and dark (css/base.css).
BACKGROUNDS = {"light": (247, 248, 245, 255), "dark": (15, 20, 18, 255)}

# CSS width, CSS height, pixel ratio of the screens that Apple sells or supports, by generation.
PHONES = ((375, 667, 2), (414, 896, 2), (375, 812, 3), (390, 844, 3), (393, 852, 3), (402, 874, 3),
          (420, 912, 3), (428, 926, 3), (430, 932, 3), (440, 956, 3))
TABLETS = ((744, 1133, 2), (768, 1024, 2), (810, 1080, 2), (820, 1180, 2), (834, 1112, 2),
           (834, 1194, 2), (834, 1210, 2), (1024, 1366, 2), (1032, 1376, 2))
LOGO_SHARE = 0.17            # of a splash screen's shorter side

DRAW = """async ([svg, size, pad]) => {
  const image = new Image();
  image.src = "data:image/svg+xml;base64," + svg;
  await image.decode();
  const context = new OffscreenCanvas(size, size).getContext("2d");
  context.drawImage(image, pad, pad, size - 2 * pad, size - 2 * pad);
  const bytes = context.getImageData(0, 0, size, size).data;
  let text = "";
  for (let i = 0; i < bytes.length; i += 8190)
    text += String.fromCharCode(...bytes.subarray(i, i + 8190));
  return btoa(text);
}"""


def splash_names():
    """Every (file name, width, height in pixels, theme) of a splash screen; js/ui/install.js
    makes the same names."""
    for width, height, ratio in PHONES + TABLETS:
        sizes = [(width, height)] + [(height, width)] * ((width, height, ratio) in TABLETS)
        for w, h in sizes:
            for theme in BACKGROUNDS:
                yield f"{w}x{h}@{ratio}-{theme}.png", w * ratio, h * ratio, theme


def ramp(first, last, steps):
    """`steps` RGBA colours from first to last, both included."""
    return [tuple(round(a + (b - a) * i / (steps - 1)) for a, b in zip(first, last))
            for i in range(steps)]


def palette(ground):
    """16 colours: the ground, its blends with the logo's green, and green's with white."""
    return ramp(ground, GREEN, 8) + ramp(GREEN, WHITE, 9)[1:]


def over(pixel, ground):
    """An RGBA pixel on an opaque ground; on a clear one it stays as it is."""
    if not ground[3]:
        return pixel if pixel[3] else CLEAR
    share = pixel[3] / 255
    mixed = (round(p * share + g * (1 - share)) for p, g in zip(pixel[:3], ground))
    return (*mixed, 255)


def indices(rgba, ground, colours):
    """The nearest palette entry of every pixel of `rgba` (bytes, 4 a pixel) drawn on `ground`."""
    known = {}
    for i in range(0, len(rgba), 4):
        pixel = tuple(rgba[i:i + 4])
        if pixel not in known:
            wanted = over(pixel, ground)
            known[pixel] = min(range(16), key=lambda k: sum(
                (a - b) ** 2 for a, b in zip(colours[k], wanted)))
        yield known[pixel]


def png(width, height, rows, colours):
    """A PNG of 4-bit palette pixels; `rows` gives `height` byte strings of packed pairs."""
    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    alpha = bytes(c[3] for c in colours)
    data = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    header = struct.pack(">IIBBBBB", width, height, 4, 3, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
            + chunk(b"PLTE", b"".join(bytes(c[:3]) for c in colours))
            + (chunk(b"tRNS", alpha) if min(alpha) < 255 else b"")
            + chunk(b"IDAT", data) + chunk(b"IEND", b""))


def compose(width, height, logo, size, ground):
    """PNG of the logo (RGBA, size x size) in the middle of a plain screen."""
    colours = palette(ground)
    drawn = list(indices(logo, ground, colours))
    left, top = (width - size) // 2, (height - size) // 2
    rows = []
    for y in range(height):
        row = bytearray(width + width % 2)       # entry 0 is the ground
        if 0 <= y - top < size:
            row[left:left + size] = bytes(drawn[(y - top) * size:(y - top + 1) * size])
        rows.append(bytes(a << 4 | b for a, b in zip(row[::2], row[1::2])))
    return png(width, height, rows, colours)


def draw(page, size, pad=0):
    """RGBA bytes of the logo, size x size, with `pad` pixels left free on each side."""
    svg = base64.b64encode((IMAGES / "logo.svg").read_bytes()).decode()
    return base64.b64decode(page.evaluate(DRAW, [svg, size, pad]))


def write_all(page):
    """Every image of the manifest and of index.html's links but the screenshots."""
    for size in (192, 512):
        data = compose(size, size, draw(page, size), size, CLEAR)
        (IMAGES / f"icon-{size}.png").write_bytes(data)
    # A mask keeps the middle 80%; the ground is the logo's own green to the edge.
    for name, size, pad in (("icon-512-maskable.png", 512, 52), ("apple-touch-icon.png", 180, 9)):
        (IMAGES / name).write_bytes(compose(size, size, draw(page, size, pad), size, GREEN))
    folder = IMAGES / "splash"
    folder.mkdir(exist_ok=True)
    for path in folder.glob("*.png"):
        path.unlink()
    for name, width, height, theme in splash_names():
        size = round(min(width, height) * LOGO_SHARE)
        ground = BACKGROUNDS[theme]
        (folder / name).write_bytes(compose(width, height, draw(page, size), size, ground))


def main():
    from playwright.sync_api import sync_playwright
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browsers.chromium(),
                                             args=list(browsers.CHROMIUM_ARGS))
        write_all(browser.new_page())
        browser.close()


if __name__ == "__main__":
    main()
