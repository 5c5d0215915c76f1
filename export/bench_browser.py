#!/usr/bin/env python3
"""Time ONNX models in a web browser: bench.py's protocol and rows, with onnxruntime-web in headless Chromium.

    python bench_browser.py MODEL... --chromium /usr/bin/chromium --runtime node_modules/onnxruntime-web
        [--threads 1] [--rounds 20] [--out rows.jsonl]

One call is one session: a fresh browser with a page of its own, which `bench.mjs` times the models in. Only the
timing itself runs in the page. Constants, statistics and warnings come from `bench.py`, which must lie beside this
file.

The page comes from a server on loopback, under a path that nobody else knows, with the headers that isolate it: only
then does it have threads, and a clock of 5 µs. How coarse the clock was found to be stands in a row's environment as
`clock_resolution_us`, and how many runs a sample is therefore the mean of as `runs_per_sample` in its `benchmark_info`.

A page that memory is too small for, WebAssembly's 4 GB or the machine's, is followed by two with half the models each.
Exit codes are those of bench.py; 3: playwright is missing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import re
import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Callable

if str(Path(__file__).resolve().parent) not in sys.path:
    # Started with -P, which keeps the script's folder off the path.
    sys.path.append(str(Path(__file__).resolve().parent))

import bench

try:
    from playwright.sync_api import Error as PlaywrightError
    from playwright.sync_api import Page, sync_playwright
except ImportError as missing:
    print(f"bench: {missing}: {sys.executable or 'python3'} -m pip install playwright", file=sys.stderr)
    sys.exit(3)

RUNTIME_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
TYPES = {".mjs": "text/javascript", ".wasm": "application/wasm"}
HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
PAGE = b"""\
<!doctype html><meta charset="utf-8"><title>bench</title><link rel="icon" href="data:,">
<script type="module">
import * as ort from "./ort/ort.wasm.min.mjs";
import { benchmark } from "./bench.mjs";
globalThis.bench = (job) => benchmark(ort, job, (done, total) => globalThis.report(done, total));
</script>
"""
QUANTISATION = 0.008
"""Share of a sample that a step of the clock may amount to. Even of a model that is a fifth quicker than when that was
settled it is then less than 1 %."""
SETTLE_NS = 2_000_000_000
"""How long a page runs its models before they are timed. V8 compiled three little networks well within 0.6 s."""
PROTOCOL = {
    "untimedRuns": bench.UNTIMED_RUNS,
    "minRuns": bench.MIN_RUNS,
    "maxRuns": bench.MAX_RUNS,
    "visitNs": bench.VISIT_NS,
    "longestVisitNs": bench.LONGEST_VISIT_NS,
    "warmUpBatches": bench.WARM_UP_BATCHES,
    "warmUpTolerance": bench.WARM_UP_TOLERANCE,
    "quantisation": QUANTISATION,
    "settleNs": SETTLE_NS,
}
PAGE_BYTES = 2**30
"""Of the model files that one page is given: loaded, they need three times as much or so, and a page has 4 GB."""
LOADING_SECONDS = 120
LACKING = re.compile(r"ERROR_CODE: (1|9|10),|No Op registered")
"""The runtime's codes of `bench.LACKING`, and an operator that it gives another one for."""
MOST_NS = 1e15
TAIL_LINES = 15
LONGEST_LINE = 500
ADVICE = (
    "Does it start by itself (chromium --headless --dump-dom about:blank)? A playwright that is much older than the "
    "browser may not know it: pip install -U playwright"
)
WRONG_SETTING = {
    "isolated": "the browser took no notice of the headers that isolate a page: use a newer one",
    "threads": "the runtime chose by itself how many: use a newer one",
    "runtime_version": "the package holds files of two versions: npm install onnxruntime-web again",
}

Say = Callable[[int, int], None]


class Full(Exception):
    """A page ended, or could not go on, for want of memory."""


# ---------------------------------------------------------------- the page


def served_files(models: Sequence[Path], runtime: Path) -> dict[str, tuple[Path | bytes, str]]:
    """Everything that the page may ask for, and its type."""
    dist = {f"ort/{name}": runtime / "dist" / name for name in RUNTIME_FILES}
    files = {"bench.mjs": Path(__file__).resolve().parent / "bench.mjs", **dist}
    found: dict[str, tuple[Path | bytes, str]] = {name: (path, TYPES[path.suffix]) for name, path in files.items()}
    own = {"sentinel": bench.SENTINEL_MODEL, "empty": bench.EMPTY_MODEL}
    asked = {**own, **{str(index): path for index, path in enumerate(models)}}
    found.update({f"models/{name}": (source, "application/octet-stream") for name, source in asked.items()})
    return {**found, "": (PAGE, "text/html; charset=utf-8")}


@contextlib.contextmanager
def serving(files: dict[str, tuple[Path | bytes, str]]) -> Iterator[str]:
    """Serve files on loopback, isolated from what else a browser holds; gives the page's address."""
    root = f"/{secrets.token_urlsafe(24)}/"

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path[len(root) :] if self.path.startswith(root) else None
            if name not in files:
                self.send_error(404)
                return
            source, kind = files[name]
            body = source if isinstance(source, bytes) else source.read_bytes()
            self.send_response(200)
            for key, value in {**HEADERS, "Content-Type": kind, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: Any) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}{root}"
        finally:
            server.shutdown()


@contextlib.contextmanager
def folder_of_its_own() -> Iterator[str]:
    """A temporary folder, removed as far as a browser that has not quite ended lets it be."""
    folder = tempfile.mkdtemp()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def fresh_page(address: str, args: argparse.Namespace) -> Iterator[tuple[Page, str]]:
    """A page in a browser that was started for it, and the browser's version.

    Raises:
        Full: the page or the browser ended by itself.
        bench.Stopped: the browser does not start, or something else failed in it.
    """
    ended: list[str] = []
    said: list[str] = []
    try:
        with folder_of_its_own() as folder, sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=args.chromium,
                # Else it leaves caches, and settings of its crash reports, in the user's home folder.
                env={**os.environ, "XDG_CONFIG_HOME": folder, "XDG_CACHE_HOME": folder},
                args=["--js-flags=--expose-gc"],
                # Chromium refuses to run as root with its sandbox, and for nobody else it is given up.
                chromium_sandbox=not hasattr(os, "geteuid") or os.geteuid() != 0,
            )
            browser.on("disconnected", lambda _: ended.append("the browser ended"))
            page = browser.new_page()
            page.on("crash", lambda _: ended.append("the page crashed"))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.goto(address, timeout=1000 * LOADING_SECONDS)
            yield page, browser.version
            ended.clear()
            browser.close()
    except PlaywrightError as error:
        if ended:
            raise Full(ended[0]) from None
        lines = [line[:LONGEST_LINE] for line in [*said, *str(error).splitlines()] if line.strip()]
        raise bench.Stopped("\n".join(["the browser failed:", *lines[:TAIL_LINES], ADVICE])) from None


def in_page(models: Sequence[Path], args: argparse.Namespace, say: Say) -> list[dict[str, Any]]:
    """Rows of the models from one fresh page.

    Raises:
        Full: memory was too small for all of them at once.
        bench.Stopped: the browser failed.
    """
    job = {
        "models": len(models),
        "steps": steps(models, args),
        "threads": args.threads,
        "optimisationLevel": args.optimisation_level,
        "rounds": args.rounds,
        "seed": args.seed,
        "protocol": PROTOCOL,
    }
    with serving(served_files(models, args.runtime)) as address, fresh_page(address, args) as (page, version):
        page.expose_function("report", say)
        before = circumstances()
        found = believed(page.evaluate("(job) => globalThis.bench(job)", job), len(models), args)
        after, peak = circumstances(), peak_renderer_bytes()
    errors = {int(index): refusal(words, found["runtime_version"]) for index, words in found["errors"].items()}
    said = {**environment(found, version), **bench.described(before, after)}
    warnings = bench.thread_warnings(args.threads, bench.usable_cores())
    warnings += bench.machine_warnings(bench.without_jumps(found["timed"]["sentinel"])[0], before, after)
    # Neither is known of a page: calls of its own, and by how much each model made it grow.
    loaded = bench.Loaded({}, {}, errors, dict.fromkeys(found["timed"]), found["batch_sizes"])
    rows = bench.to_rows(models, args, found["timed"], loaded, peak, said, warnings)
    for index, row in enumerate(rows):
        row["benchmark_info"]["runs_per_sample"] = found["batches"].get(str(index))
    return rows


def environment(found: dict[str, Any], version: str) -> dict[str, Any]:
    """What bench.py says of the machine, and what the models ran in."""
    return {
        **bench.environment(),
        "runtime": "onnxruntime-web",
        # Two browsers are two compilers of the same WebAssembly.
        "runtime_version": f"{found['runtime_version']}+chromium{version.partition('.')[0]}",
        "runtime_build": "wasm, SIMD, threads",
        "browser": f"Chromium {version}",
        "isolated": found["isolated"],
        "clock_resolution_us": found["resolution_ns"] / 1e3,
        "affinity": None,
        "nice": os.nice(0) if hasattr(os, "nice") else None,
    }


def believed(said: Any, models: int, args: argparse.Namespace) -> dict[str, Any]:
    """What a page says, once it is known to be of the setting asked for, with numbers for every model.

    Raises:
        Full: it says that memory is full.
        bench.Stopped: it is anything else than a page of ours gives.
    """
    try:
        found = json.loads(said, parse_constant=lambda word: float(word + " is no number"))
        if "full" in found:
            raise Full(str(found["full"])[:500])
        wanted = {"isolated": True, "threads": args.threads, "runtime_version": package_version(args.runtime)}
        for key, value in wanted.items():
            if found[key] != value:
                raise bench.Stopped(f"{key} is {str(found[key])[:50]!r}, wanted {value!r}: {WRONG_SETTING[key]}")
        errors = {str(index) for index in range(models)} & found["errors"].keys()
        timed = {"sentinel", "empty", *map(str, range(models))} - errors
        _check(found["timed"].keys() == timed and found["errors"].keys() == errors, "models")
        _check(all(isinstance(words, str) for words in found["errors"].values()), "errors")
        _check(0 < found["resolution_ns"] < 1e9, "resolution_ns")
        _check(all(isinstance(found["batches"][name], int) for name in timed), "batches")
        sizes = found["batch_sizes"]
        _check(sizes.keys() == timed and all(isinstance(size, int) and size > 0 for size in sizes.values()), "batches")
        for rounds in found["timed"].values():
            _check(len(rounds) == args.rounds and all(0 < len(one) <= bench.MAX_RUNS for one in rounds), "rounds")
            _check(all(math.isfinite(value) and abs(value) < MOST_NS for one in rounds for value in one), "samples")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise bench.Stopped(f"the page gave what no timer gives: {type(error).__name__}: {error}") from None
    return found


def _check(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"{what} of another form")


def package_version(runtime: Path) -> str:
    """The version that a package says it is."""
    return str(json.loads((runtime / "package.json").read_text(encoding="utf-8"))["version"])


def refusal(words: str, version: str) -> str:
    """Why a model is not timed, in one line, as `bench.refusal` says it."""
    said = " ".join(words.split())
    lacking = LACKING.search(said)
    said = re.sub(r"^.*?ERROR_CODE: \d+, ERROR_MESSAGE: (Load model from .*? failed:)?", "", said)
    said = re.sub(r"\S+\.(?:h|cc|cpp):\d+ .*?\) (?=[A-Z])", "", said).rstrip(".")
    if not lacking:
        return said
    return (
        f"onnxruntime-web {version} cannot run it: {said}: "
        "install a newer one, or export the model with operators and an opset that this one has"
    )


# ---------------------------------------------------------------- the machine


def circumstances() -> dict[str, Any]:
    """As bench.py's; the browser's processes are this one's own."""
    own = sum(seconds for _, seconds in own_processes())
    return {**bench.circumstances(0), "own_s": time.process_time() + own}


def own_processes() -> list[tuple[int, float]]:
    """Ids and CPU seconds of all processes that this one began, and those began."""
    found: dict[int, tuple[int, float]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            # A program's name may hold anything, even spaces.
            words = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            ticks = int(words[11]) + int(words[12])
            found[int(path.parent.name)] = int(words[1]), ticks / os.sysconf("SC_CLK_TCK")
    own, fresh = set(), {os.getpid()}
    while fresh:
        fresh = {process for process, (parent, _) in found.items() if parent in fresh} - own
        own |= fresh
    return [(process, found[process][1]) for process in sorted(own)]


def peak_renderer_bytes() -> int | None:
    """Peak resident memory of the process that the page lives in; None where the system does not tell."""
    peaks = []
    for process, _ in own_processes():
        with contextlib.suppress(OSError, ValueError, IndexError):
            folder = Path("/proc") / str(process)
            if b"--type=renderer" in (folder / "cmdline").read_bytes():
                status = (folder / "status").read_text(encoding="utf-8", errors="replace")
                peaks.append(int(status.split("VmHWM:")[1].split()[0]) * 1024)
    return max(peaks) if peaks else None


def end_with(parent: int) -> None:
    """End this process, and with it the browser, once its parent has."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


# ---------------------------------------------------------------- main


def benchmark(models: Sequence[Path], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Time all models; one row each, in the order given."""
    parts = shares(models)
    totals = [steps(part, args) for part in parts]
    rows = []
    for number, part in enumerate(parts):
        rows += in_pages(part, args, part_of_progress(sum(totals[:number]), sum(totals)))
    for index, row in enumerate(rows):
        row["benchmark_info"]["index"] = index
    return rows


def steps(models: Sequence[Path], args: argparse.Namespace) -> int:
    """What progress counts of a page, as in bench.py: models loaded, and visits, also to the timer's own two."""
    return len(models) + args.rounds * (len(models) + 2)


def shares(models: Sequence[Path]) -> list[Sequence[Path]]:
    """Models by page, in their order, none given more than it can hold."""
    sizes = [path.stat().st_size if path.exists() else 0 for path in models]
    pages = max(1, math.ceil(sum(sizes) / PAGE_BYTES))
    return [models[len(models) * page // pages : len(models) * (page + 1) // pages] for page in range(pages)]


def in_pages(models: Sequence[Path], args: argparse.Namespace, say: Say) -> list[dict[str, Any]]:
    """Rows of the models from one page, or, where memory is too small for that, from several."""
    try:
        return in_page(models, args, say)
    except Full as full:
        if len(models) > 1:
            half = len(models) // 2
            return in_pages(models[:half], args, say) + in_pages(models[half:], args, say)
        error = f"a page that held this model alone came to its end ({full}): memory is full"
        info = bench.benchmark_info(0, models[0], args, None)
        return [{"schema_version": bench.SCHEMA_VERSION, "benchmark_info": info, "error": error}]


def part_of_progress(before: int, total: int) -> Say:
    """Tells a page's progress as part of that of all."""

    def say(done: int, _: int) -> None:
        print(f"progress {before + done} {total}", file=sys.stderr, flush=True)

    return say


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = argparse.ArgumentParser(description="Time ONNX models in a web browser, one JSON line each.")
    command.add_argument("models", nargs="+", metavar="MODEL_OR_FOLDER", help=".onnx files, or folders of them")
    command.add_argument("--chromium", required=True, help="the browser's executable")
    command.add_argument("--runtime", required=True, type=Path, help="folder of the npm package onnxruntime-web")
    command.add_argument("--threads", type=bench.positive, default=1, help="threads of an operator (default 1)")
    command.add_argument("--provider", choices=["wasm"], default="wasm", help="who runs the nodes")
    command.add_argument("--optimisation-level", choices=list(bench.LEVELS), default="all", help="of the graph")
    command.add_argument("--spinning", action="store_true", help="must be said of several threads: they always spin")
    command.add_argument("--rounds", type=bench.positive, default=20, help="visits to every model (default 20)")
    command.add_argument("--seed", type=int, default=0, help="of inputs and of the order of visits")
    command.add_argument("--out", help="file to append the rows to (default: standard output)")
    command.add_argument("--raw-samples", type=int, default=bench.MAX_RAW_SAMPLES, help="to keep in a row")
    command.add_argument("--with-parent", action="store_true", help="end when the process that called this has")
    return command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 when every model was timed, 1 when one was not or the browser failed."""
    args = parser().parse_args(argv)
    if args.spinning != (args.threads > 1):
        parser().error("--spinning goes with --threads above 1, and with these always")
    if args.with_parent:
        end_with(os.getppid())
    with contextlib.suppress(AttributeError, OSError):
        os.nice(-10)
    try:
        rows = benchmark(bench.find_models(args.models), args)
        bench.write_rows(rows, args.out)
    except KeyboardInterrupt:
        print("bench: stopped", file=sys.stderr)
        return 130
    except (bench.Stopped, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return bench.say_what_failed(rows)


if __name__ == "__main__":
    sys.exit(main())
