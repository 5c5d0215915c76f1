"""A headless Chromium, and a server of plain files."""

from __future__ import annotations

import contextlib
import functools
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from browsers import RUNTIME

# What index.html does for a file, for a list of addresses.
NAME_ALL = """async (addresses) => {
  const page = await import('./page.js');
  const model = await page.load();
  const found = [];
  for (const address of addresses) {
    const data = await (await fetch(address)).blob();
    try {
      const image = await page.read(new File([data], address));
      found.push((await page.classify(model, image, false)).ranked[0]);
    } catch (error) { found.push({ error: error.message }); }
  }
  return found;
}"""


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """The browser; the test is skipped where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def web_runtime() -> Path:
    """onnxruntime-web's dist folder; the test is skipped where there is none."""
    folder = RUNTIME / "dist"
    if not (folder / "ort.wasm.min.mjs").is_file():
        pytest.skip("needs npm install onnxruntime-web, in node_modules or where EDGENAS_ONNXRUNTIME_WEB says")
    return folder


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Address under which a folder's files are served."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Silent, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
