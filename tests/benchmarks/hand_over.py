"""Figures of handed-over results: report, page in the browser, labels, latency of shipped bundles.

    python tests/benchmarks/hand_over.py report RUN [RUN …]
    python tests/benchmarks/hand_over.py page RUN
    python tests/benchmarks/hand_over.py labels RUN [--images FOLDER] [--count 500]
    python tests/benchmarks/hand_over.py bundles RUN --folder F [--count 32]
    python tests/benchmarks/hand_over.py latency RUN --folder F [--rounds 40]

`report` opens report.html of each run in a fresh headless Chromium and waits until its figures are drawn. `page` serves
the page of the run's bundle on loopback, and counts from the address to the first label, nothing cached. `labels`
compares the page's labels with those of run.py, and of training's own reading of images with ONNX Runtime, over files
drawn from FOLDER (class folders); without it the run's test images, as PNG. `bundles` exports networks of the run's
front and of what its search scored, spread over predicted latency, as bundles into F; what is there stays. `latency`
lets each of them prove and time itself by its own verify.py in fresh processes, and holds that to the interval that its
manifest states. All but `bundles` print JSON.

Chromium, playwright and onnxruntime-web are found as tests find them (EDGENAS_ONNXRUNTIME_WEB names the package).
Times want a quiet machine: `report`, `page` and `latency`; and the run's own profile.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from browsers import RUNTIME
from in_browser import NAME_ALL, chromium, served, web_runtime
from machine import machine, versions
from PIL import Image

from edgenas.deploy.bundle.web_page import write_web
from edgenas.deploy.onnx.scoring import onnx_classes
from edgenas.files import read_json
from edgenas.records.verify import VerifyRecord
from edgenas.runs.run import Run, open_run
from edgenas.space.arch import Arch
from edgenas.stages.devices.device_latencies import read_latencies
from edgenas.stages.export import BUNDLE, export_bundle
from edgenas.stages.shipping.bundle_network import BundleOptions
from edgenas.stages.weights.run_accuracy import evaluation_ledger
from edgenas.training.data.image_files import fit, open_image, to_tensor
from edgenas.training.data.listing import SUFFIXES
from edgenas.training.data.preprocess import Preprocess

OPENINGS = 5
DRAWN = "document.body.dataset.drawn === 'yes'"
READY = "document.getElementById('message').textContent === 'Ready.'"
NAMED = "!document.getElementById('labels').hidden"
LOOSE = "1000s"
"""A budget that any bundle is within: it is the measurement that is wanted."""


def browser_facts(browser: Any) -> dict[str, Any]:
    """Return the versions of browser and runtime."""
    package = RUNTIME / "package.json"
    runtime = json.loads(package.read_text(encoding="utf-8"))["version"] if package.exists() else None
    return {"chromium": browser.version, "onnxruntime_web": runtime}


# ---------------------------------------------------------------- report


def report(runs: list[Path]) -> dict[str, Any]:
    """Bytes of each run's page, and seconds until its figures are drawn."""
    with chromium() as browser:
        pages = [_report(browser, run) for run in runs]
        return {**browser_facts(browser), "pages": pages}


def _report(browser: Any, run: Path) -> dict[str, Any]:
    path = (run / "report" / "report.html").resolve()
    seconds = [_opened(browser, path.as_uri()) for _ in range(OPENINGS)]
    return {
        "run": run.name,
        "bytes": path.stat().st_size,
        "seconds_median": round(median(seconds), 3),
        "seconds": [round(value, 3) for value in seconds],
    }


def _opened(browser: Any, address: str) -> float:
    context = browser.new_context(viewport={"width": 1280, "height": 800}, offline=True)
    page = context.new_page()
    began = time.perf_counter()
    page.goto(address)
    page.wait_for_function(DRAWN)
    seconds = time.perf_counter() - began
    context.close()
    return seconds


# ---------------------------------------------------------------- page


def page(run: Path) -> dict[str, Any]:
    """Seconds from the address to the first label, and from when the page says that it is ready."""
    with tempfile.TemporaryDirectory() as temporary, chromium() as browser:
        folder = write_web(run / BUNDLE, Path(temporary) / "page", web_runtime())
        (image,) = test_images(open_run(run), Path(temporary) / "images", 1)
        with served(folder) as address:
            found = [_first_label(browser, f"{address}/index.html", image) for _ in range(OPENINGS)]
        whole, ready = ([round(one[place], 3) for one in found] for place in range(2))
        sizes = {path.name: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
        return {
            **browser_facts(browser),
            "run": run.name,
            "seconds_to_first_label_median": median(whole),
            "seconds_to_first_label": whole,
            "seconds_ready_to_label": ready,
            "bytes": sizes,
        }


def _first_label(browser: Any, address: str, image: Path) -> tuple[float, float]:
    context = browser.new_context()
    opened = context.new_page()
    began = time.perf_counter()
    opened.goto(address)
    opened.wait_for_function(READY)
    ready = time.perf_counter()
    opened.set_input_files("#file", image)
    opened.wait_for_function(NAMED)
    ended = time.perf_counter()
    context.close()
    return ended - began, ended - ready


def test_images(run: Run, folder: Path, count: int) -> list[Path]:
    """The first of the run's test images as PNG files."""
    folder.mkdir(parents=True)
    paths = []
    for number, image in enumerate(run.images.dataset.test.head(count).tensor()):
        pixels = image.permute(1, 2, 0).numpy()
        Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(folder / f"{number}.png")
        paths.append(folder / f"{number}.png")
    return paths


# ---------------------------------------------------------------- labels


def labels(run: Path, source: Path | None, count: int) -> dict[str, Any]:
    """Shares of files that get the same label from the page, from run.py, and in training's way."""
    bundle = run / BUNDLE
    with tempfile.TemporaryDirectory() as temporary, chromium() as browser:
        folder = write_web(bundle, Path(temporary) / "page", web_runtime())
        files = _drawn(source, count) if source else test_images(open_run(run), Path(temporary) / "test", count)
        (folder / "images").mkdir()
        names = [f"images/{number}{path.suffix}" for number, path in enumerate(files)]
        for path, name in zip(files, names, strict=True):
            shutil.copyfile(path, folder / name)
        copies = [folder / name for name in names]
        by_run, by_training = _by_run(bundle, copies), _by_training(bundle, copies)
        with served(folder) as address:
            opened = browser.new_page()
            opened.goto(f"{address}/index.html")
            by_page = [found.get("label") for found in opened.evaluate(NAME_ALL, names)]
        return {
            **browser_facts(browser),
            "run": run.name,
            "images": len(files),
            "kinds": sorted({path.suffix for path in files}),
            "labels": len(set(by_run)),
            "page_as_run_py": _share(by_page, by_run),
            "page_as_training": _share(by_page, by_training),
            "run_py_as_training": _share(by_run, by_training),
        }


def _drawn(folder: Path, count: int) -> list[Path]:
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    return random.Random(0).sample(found, min(count, len(found)))


def _by_run(bundle: Path, files: list[Path]) -> list[str | None]:
    command = [sys.executable, str(bundle / "run.py"), str(bundle / "model.onnx"), "--json", *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    rows = json.loads(done.stdout)["images"]
    return [row["classes"][0]["class"] if "classes" in row else None for row in rows]


def _by_training(bundle: Path, files: list[Path]) -> list[str | None]:
    manifest = read_json(bundle / "manifest.json")
    preprocess = Preprocess(**manifest["preprocess"])
    found: list[str | None] = []
    for path in files:
        image = open_image(path)
        if preprocess.presize is not None:
            image = fit(image, preprocess.presize)
        answer = onnx_classes(bundle / "model.onnx", to_tensor(image)[None], preprocess)
        found.append(manifest["classes"][int(answer[0])])
    return found


def _share(one: list[str | None], other: list[str | None]) -> float:
    return sum(a == b for a, b in zip(one, other, strict=True)) / len(one)


# ---------------------------------------------------------------- latency of bundles


def bundles(folder: Path, out: Path, count: int) -> None:
    """Export bundles of networks spread over predicted latency, those of the front among them."""
    run = open_run(folder)
    archs = _spread(run, count)
    for number, arch in enumerate(archs, start=1):
        if not (out / arch.id / "manifest.json").exists():
            export_bundle(run, arch.id, BundleOptions(), out / arch.id, lambda *_: None)
        print(f"{number} of {len(archs)}: {arch.id}", file=sys.stderr, flush=True)


def _spread(run: Run, count: int) -> list[Arch]:
    space = run.space
    front = [space.parse(entry["arch"]) for entry in run.result(VerifyRecord).to_json()["front"]]
    scored = [row.arch for row in evaluation_ledger(run).rows()]
    others = [arch for arch in dict.fromkeys(scored) if arch not in front]
    (predictor, *_) = read_latencies(run).predictors.values()
    times = predictor.predict(others)
    ranked = [arch for _, arch in sorted(zip(times.tolist(), others, strict=True), key=lambda pair: pair[0])]
    wanted = min(max(0, count - len(front)), len(ranked))
    step = (len(ranked) - 1) / max(wanted - 1, 1)
    return [*front, *(ranked[round(place * step)] for place in range(wanted))]


def latency(out: Path, rounds: int) -> dict[str, Any]:
    """Each bundle's own verify.py, in an order of its own, against what its manifest predicts."""
    folders = sorted(path.parent for path in out.glob("*/manifest.json"))
    rows = []
    for number, folder in enumerate(random.Random(1).sample(folders, len(folders)), start=1):
        rows.append(_verified(folder, rounds))
        print(f"{number} of {len(folders)}: {rows[-1]}", file=sys.stderr, flush=True)
    half = [row["half_width"] for row in rows]
    error = [abs(row["measured_us"] / row["predicted_us"] - 1) for row in rows]
    return {
        "bundles": len(rows),
        "rounds": rounds,
        "accepted_by_verify": sum(row["ok"] for row in rows),
        "interval": sorted({row["coverage"] for row in rows}),
        "share_within": sum(row["within"] for row in rows) / len(rows),
        "median_half_width": median(half),
        "mean_absolute_error": sum(error) / len(error),
        "flagged": sum(bool(row["warnings"]) for row in rows),
        "rows": rows,
    }


def _verified(folder: Path, rounds: int) -> dict[str, Any]:
    manifest = read_json(folder / "manifest.json")
    (known,) = manifest["latency"].values()
    command = [sys.executable, str(folder / "verify.py"), "--budget", LOOSE, "--json", "--rounds", str(rounds)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    found = json.loads(done.stdout)
    measured_us = 1e3 * found["measured"]["latency_ms"]["p50"]
    low, high = known["interval_us"]
    return {
        "arch": manifest["arch"],
        "ok": found["ok"],
        "predicted_us": known["predicted_us"],
        "interval_us": [low, high],
        "coverage": known["coverage"],
        "half_width": (high - low) / 2 / known["predicted_us"],
        "exported_us": known["p50_us"],
        "measured_us": measured_us,
        "within": low <= measured_us <= high,
        "warnings": found["measured"]["warnings"],
    }


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("what", choices=["report", "page", "labels", "bundles", "latency"])
    command.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    command.add_argument("--images", type=Path)
    command.add_argument("--count", type=int)
    command.add_argument("--folder", type=Path)
    command.add_argument("--rounds", type=int, default=40, help="of verify.py, whose own default this is")
    return command


def main() -> None:
    args = parser().parse_args()
    run = args.runs[0]
    if args.what in ("bundles", "latency") and args.folder is None:
        parser().error(f"{args.what} takes --folder")
    if args.what == "bundles":
        bundles(run, args.folder, args.count or 32)
        return
    made: dict[str, Callable[[], dict[str, Any]]] = {
        "report": lambda: report(args.runs),
        "page": lambda: page(run),
        "labels": lambda: labels(run, args.images, args.count or 500),
        "latency": lambda: latency(args.folder, args.rounds),
    }
    where = {**machine(), **versions("onnxruntime")}
    print(json.dumps({"what": args.what, "machine": where, **made[args.what]()}, indent=2))


if __name__ == "__main__":
    main()
