"""The page in a headless Chromium: the labels that run.py gives, or a clear message."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from in_browser import chromium, served, web_runtime
from little_bundle import write_pictures
from PIL import Image

from edgenas.deploy.web import write_web
from edgenas.errors import RunFolderError, UserError
from edgenas.training.preprocess import Preprocess

PICTURES = 150
# What index.html does for a file, for a list of addresses.
NAME_ALL = """async (addresses) => {
  const page = await import('./page.js');
  const model = await page.load();
  const found = [];
  for (const address of addresses) {
    const data = await (await fetch(address)).blob();
    try {
      const picture = await page.read(new File([data], address));
      found.push((await page.classify(model, picture, false)).ranked[0]);
    } catch (error) { found.push({ error: error.message }); }
  }
  return found;
}"""


@pytest.fixture(scope="module")
def bundle(shared_bundle: Path) -> Path:
    return shared_bundle


@pytest.fixture(scope="module")
def site(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    folder = write_web(bundle, tmp_path_factory.mktemp("site") / "page", web_runtime())
    with served(folder) as address:
        yield folder, address


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture
def page(browser: Any, site: tuple[Path, str]) -> Iterator[Any]:
    """The page, its model loaded; nothing it logs is an error."""
    context = browser.new_context(viewport={"width": 375, "height": 700})
    opened = context.new_page()
    errors: list[str] = []
    opened.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.goto(site[1] + "/index.html")
    opened.wait_for_function("document.getElementById('message').textContent === 'Ready.'")
    yield opened
    context.close()
    assert errors == []


def said_by_run(bundle: Path, pictures: list[Path]) -> list[dict[str, Any]]:
    command = [sys.executable, "run.py", "model.onnx", "--json", *map(str, pictures)]
    done = subprocess.run(command, cwd=bundle, capture_output=True, text=True, encoding="utf-8", check=False)
    return list(json.loads(done.stdout)["pictures"])


def test_a_picture_gets_its_label_and_a_latency(page: Any, bundle: Path, tmp_path: Path) -> None:
    (picture,) = write_pictures(tmp_path / "pictures", 1)
    best = said_by_run(bundle, [picture])[0]["classes"][0]
    page.set_input_files("#file", picture)
    page.wait_for_selector("#labels:not([hidden])")
    message = page.text_content("#message")
    assert message.startswith(f"{best['class']}, {100 * best['confidence']:.1f} %, in ")
    assert float(message.split()[-2]) > 0
    assert page.locator("#labels tr").count() == 3
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_the_same_labels_as_run_py_over_raw_test_files(page: Any, site, bundle: Path) -> None:
    pictures = write_pictures(site[0] / "pictures", PICTURES)
    expected = [row["classes"][0]["class"] for row in said_by_run(bundle, pictures)]
    got = page.evaluate(NAME_ALL, [f"pictures/{path.name}" for path in pictures])
    assert sum(a["label"] == b for a, b in zip(got, expected, strict=True)) >= 0.98 * PICTURES
    assert len(set(expected)) > 5


def odd_pictures(folder: Path) -> dict[str, Path]:
    """Pictures of one digit in every way that a picture may be odd."""
    folder.mkdir(exist_ok=True)
    (first,) = write_pictures(folder / "first", 1)
    grey = Image.open(first).resize((40, 40), Image.Resampling.BICUBIC)
    rgb = grey.convert("RGB")
    clear = grey.convert("LA")
    exif = Image.Exif()
    exif[0x0112] = 6
    made = {
        "wide.png": (rgb.resize((90, 40)), {}),
        "large.jpg": (rgb.resize((1201, 803)), {"quality": 95}),
        "grey.jpg": (grey, {"quality": 95}),
        "cmyk.jpg": (rgb.convert("CMYK"), {"quality": 95}),
        "sixteen.png": (Image.fromarray(np.asarray(grey).astype(np.uint16) * 257), {}),
        "turned.jpg": (rgb, {"exif": exif, "quality": 95}),
        "film.gif": (grey, {"save_all": True, "append_images": [Image.new("L", (40, 40))]}),
        "clear.png": (clear, {}),
        "palette.png": (rgb.quantize(16), {}),
        "dot.png": (Image.new("RGB", (1, 1), (200, 10, 10)), {}),
        "picture.webp": (rgb, {"lossless": True}),
    }
    for name, (picture, options) in made.items():
        picture.save(folder / name, **options)
    return {name: folder / name for name in made}


def test_odd_pictures_get_the_label_of_run_py(page: Any, site, bundle: Path) -> None:
    pictures = odd_pictures(site[0] / "odd")
    expected = {row["picture"]: row["classes"] for row in said_by_run(bundle, list(pictures.values()))}
    got = page.evaluate(NAME_ALL, [f"odd/{name}" for name in pictures])
    for (name, path), found in zip(pictures.items(), got, strict=True):
        first, second = expected[str(path)][:2]
        # Decoders of JPEG differ by a level here and there: that may turn a tie, and nothing else.
        assert found["label"] == first["class"] or first["confidence"] - second["confidence"] < 0.05, name


def broken_pictures(folder: Path) -> dict[str, Path]:
    folder.mkdir(exist_ok=True)
    rgb = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    for kind in ("jpg", "png", "gif", "webp"):
        rgb.save(folder / f"torn.{kind}")
        data = (folder / f"torn.{kind}").read_bytes()
        (folder / f"torn.{kind}").write_bytes(data[: 2 * len(data) // 3])
    (folder / "text.png").write_text("no picture")
    (folder / "empty.png").write_bytes(b"")
    Image.new("RGB", (2000, 3)).save(folder / "thin.png")
    header = struct.pack(">IIBBBBB", 2**30, 2**30, 8, 2, 0, 0, 0)
    (folder / "lie.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + header + bytes(4) + b"IEND"
    )
    return {path.name: path for path in sorted(folder.iterdir())}


def test_what_is_no_whole_picture_is_a_message_in_both(page: Any, site, bundle: Path) -> None:
    pictures = broken_pictures(site[0] / "broken")
    assert all("error" in row for row in said_by_run(bundle, list(pictures.values())))
    for name, found in zip(pictures, page.evaluate(NAME_ALL, [f"broken/{name}" for name in pictures]), strict=True):
        assert "error" in found, name
        assert found["error"].startswith(f"broken/{name}: ")


def test_a_wrong_file_is_a_message_and_the_next_picture_is_named(page: Any, tmp_path: Path) -> None:
    (picture,) = write_pictures(tmp_path / "pictures", 1)
    page.set_input_files("#file", picture)
    page.wait_for_selector("#labels:not([hidden])")
    (tmp_path / "notes.txt").write_text("mine")
    page.set_input_files("#file", tmp_path / "notes.txt")
    page.wait_for_selector("#message.wrong")
    assert page.text_content("#message") == "notes.txt: not a picture that this browser can read"
    assert page.locator("#labels").is_hidden()
    page.set_input_files("#file", picture)
    page.wait_for_selector("#message:not(.wrong)")


def test_the_keyboard_reaches_the_file_chooser(page: Any, tmp_path: Path) -> None:
    (picture,) = write_pictures(tmp_path / "pictures", 1)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "file"
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(picture)
    page.wait_for_selector("#labels:not([hidden])")
    assert page.get_attribute("#message", "aria-live") == "polite"


def test_a_dropped_picture_is_named(page: Any, site) -> None:
    write_pictures(site[0] / "dropped", 1)
    page.evaluate(
        """async () => {
          const moved = new DataTransfer();
          const data = await (await fetch('dropped/0.png')).blob();
          moved.items.add(new File([data], '0.png', { type: 'image/png' }));
          document.dispatchEvent(new DragEvent('drop', { dataTransfer: moved, cancelable: true }));
        }"""
    )
    page.wait_for_selector("#labels:not([hidden])")


@pytest.fixture
def kit() -> Iterator[ModuleType]:
    """run.py as a module."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "export"))
    try:
        import run

        yield run
    finally:
        sys.path.pop(0)


def saved_noise(site: tuple[Path, str], width: int, height: int) -> Image.Image:
    noise = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(noise).save(site[0] / "noise.png")
    return Image.fromarray(noise)


def test_resizing_is_that_of_pillow_to_the_bit(page: Any, site, kit: ModuleType) -> None:
    for width, height, side in ((31, 47, 16), (8, 8, 28), (200, 90, 28), (33, 33, 32), (28, 28, 28), (500, 301, 96)):
        picture = saved_noise(site, width, height)
        for shorter in (side, side + 3):
            expected = np.asarray(kit.fit(picture, shorter, side)).ravel().tolist()
            got = page.evaluate(
                """async ([shorter, side]) => {
                  const page = await import('./page.js');
                  const data = await (await fetch('noise.png', { cache: 'no-store' })).blob();
                  return Array.from(page.fit(await page.read(new File([data], 'x')), shorter, side).pixels);
                }""",
                [shorter, side],
            )
            assert got == expected


@pytest.mark.parametrize(
    ("presize", "size", "crop"), [(None, 28, 0.875), (40, 28, 0.875), (24, 32, 0.7), (32, 28, 1.0)]
)
def test_inputs_are_those_of_run_py(
    page: Any, site, kit: ModuleType, presize: int | None, size: int, crop: float
) -> None:
    picture = saved_noise(site, 57, 43)
    values = Preprocess(size, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3), presize=presize, crop=crop).to_json()
    preprocess = kit.Preprocess(**values)
    for takes_bytes, expected in ((True, preprocess.pixels(picture)), (False, preprocess(picture))):
        got = page.evaluate(
            """async ([preprocess, takesBytes]) => {
              const page = await import('./page.js');
              const data = await (await fetch('noise.png', { cache: 'no-store' })).blob();
              const picture = await page.read(new File([data], 'x'));
              return Array.from(page.prepared(picture, preprocess, takesBytes));
            }""",
            [values, takes_bytes],
        )
        np.testing.assert_allclose(np.array(got), expected.ravel(), atol=0 if takes_bytes else 1e-6)


def test_the_first_label_comes_within_a_second(browser: Any, site) -> None:
    write_pictures(site[0] / "timed", 1)
    opened = browser.new_page()
    start = time.monotonic()
    opened.goto(site[1] + "/index.html")
    opened.wait_for_function("document.getElementById('message').textContent === 'Ready.'")
    opened.set_input_files("#file", site[0] / "timed" / "0.png")
    opened.wait_for_selector("#labels:not([hidden])")
    seconds = time.monotonic() - start
    opened.close()
    # The goal is one second on an idle machine; tests share theirs.
    assert seconds < 10


def test_a_server_that_lacks_the_model_is_told(browser: Any, bundle: Path, tmp_path: Path) -> None:
    folder = write_web(bundle, tmp_path / "page", web_runtime())
    (folder / "model.onnx").unlink()
    with served(folder) as address:
        opened = browser.new_page()
        opened.goto(address + "/index.html")
        opened.wait_for_selector("#message.wrong")
        assert "model.onnx cannot be fetched (404)" in opened.text_content("#message")
        opened.close()


def test_a_page_is_written_again_but_over_nothing_else(bundle: Path, tmp_path: Path) -> None:
    folder = write_web(bundle, tmp_path / "page")
    assert {path.name for path in folder.iterdir()} == {"index.html", "page.js", "model.json", "model.onnx"}
    assert json.loads((folder / "model.json").read_text())["runtime"].startswith("https://")
    write_web(bundle, folder)
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(RunFolderError, match=r"thesis\.txt"):
        write_web(bundle, folder)
    with pytest.raises(UserError, match="npm install onnxruntime-web"):
        write_web(bundle, tmp_path / "other", tmp_path)
    assert not (tmp_path / "other").exists()
