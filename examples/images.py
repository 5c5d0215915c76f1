"""Images of a finished run's report and of its page for browsers, as they stand in results/.

    python examples/images.py runs/demo examples/results --web-runtime node_modules/onnxruntime-web/dist

Takes Chromium, and `pip install playwright`; the page is served on loopback while it is photographed.
"""

from __future__ import annotations

import argparse
import functools
import io
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from PIL import Image

from edgenas.deploy.bundle.web_page import write_web
from edgenas.files import write_bytes
from edgenas.runs.run import open_run
from edgenas.stages.export import BUNDLE

DESKTOP, PHONE = {"width": 1280, "height": 1000}, {"width": 390, "height": 844}
LARGE = 160
"""Pixels that an image is shown at: those of small sets could hardly be seen."""
COLOURS = 256


def report_images(browser: Any, report: Path) -> dict[str, bytes]:
    """The front and the chosen network at a desk, the beginning on a phone, in the dark."""

    def opened(viewport: dict[str, int], scheme: str) -> Any:
        page = browser.new_page(viewport=viewport, color_scheme=scheme)
        page.goto(report.resolve().as_uri())
        page.wait_for_selector("body[data-drawn]")
        return page

    desk, phone = opened(DESKTOP, "light"), opened(PHONE, "dark")
    network = desk.locator("#network .panels")
    shot = {"report": desk.screenshot(), "report_phone": phone.screenshot()}
    return shot | ({"report_network": network.screenshot()} if network.count() else {})


def page_images(browser: Any, address: str, image: Path) -> dict[str, bytes]:
    """The page with a label, at a desk and on a phone."""
    shot = {}
    for name, viewport, scheme in (("page", DESKTOP | {"height": 640}, "light"), ("page_phone", PHONE, "dark")):
        page = browser.new_page(viewport=viewport, color_scheme=scheme)
        page.goto(f"{address}/index.html")
        page.wait_for_function("document.getElementById('message').textContent === 'Ready.'")
        page.set_input_files("#file", image)
        page.wait_for_selector("#labels:not([hidden])")
        shot[name] = page.screenshot()
    return shot


def first_test_image(run: Path, path: Path) -> Path:
    """The run's first test image as a file, enlarged."""
    pixels = open_run(run).images.dataset.test.head(1).tensor()[0].permute(1, 2, 0).numpy()
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    image.resize((LARGE, LARGE), Image.Resampling.BICUBIC).save(path)
    return path


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Address of a folder's files."""
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def small(png: bytes) -> bytes:
    """An image in as few colours as it nearly has."""
    stream = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(
        stream, "PNG", optimize=True
    )
    return stream.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--web-runtime", type=Path, help="onnxruntime-web's dist folder; else it is fetched")
    args = parser.parse_args()
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        folder = Path(temporary)
        page = write_web(args.run / BUNDLE, folder / "page", args.web_runtime)
        image = first_test_image(args.run, folder / "image.png")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        shot = report_images(browser, args.run / "report" / "report.html")
        with served(page) as address:
            shot |= page_images(browser, address, image)
        browser.close()
    for name, png in shot.items():
        write_bytes(args.out / f"{name}.png", small(png))
        print(args.out / f"{name}.png")


if __name__ == "__main__":
    main()
