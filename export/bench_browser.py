#!/usr/bin/env python3
"""Time ONNX models in a web browser: bench.py's protocol and rows, with onnxruntime-web in headless Chromium.

    python bench_browser.py MODEL... --chromium /usr/bin/chromium --runtime node_modules/onnxruntime-web
        [--threads 1] [--rounds 20] [--out rows.jsonl]

One call is one session: a new browser with one page, in which `bench.mjs` times the models. Only the timing itself
runs in the page. Constants, statistics and warnings come from `bench.py`, which must be in the folder of this file.

The page comes from a server on loopback, under a secret path, with the headers that isolate it: only then does it
have threads, and a clock of 5 µs. A row states the clock's measured resolution as `clock_resolution_us` in its
environment, and the number of runs that each sample is the mean of as `runs_per_sample` in its `benchmark_info`.

If a page runs out of memory (WebAssembly's 4 GB or the machine's), two pages with half the models each follow.
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
    # Python's option -P keeps the script's folder off the path.
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
"""Largest ratio of a clock step to a sample. It stays below 1 % even if the model becomes a fifth faster later."""
SETTLE_NS = 2_000_000_000
"""How long a page runs its models before they are timed. V8 optimised three small networks within 0.6 s."""
PROTOCOL = {
    "untimedRuns": bench.UNTIMED_RUNS,
    "minRuns": bench.MIN_RUNS,
    "maxRuns": bench.MAX_RUNS,
    "repetitionNs": bench.REPETITION_NS,
    "maxRepetitionNs": bench.MAX_REPETITION_NS,
    "warmUpBatches": bench.WARM_UP_BATCHES,
    "warmUpTolerance": bench.WARM_UP_TOLERANCE,
    "quantisation": QUANTISATION,
    "settleNs": SETTLE_NS,
}
PAGE_BYTES = 2**30
"""Largest size of the model files of one page: loaded, they need about three times as much, and a page has 4 GB."""
LOADING_SECONDS = 120
UNSUPPORTED = re.compile(r"ERROR_CODE: (1|9|10),|No Op registered")
"""The runtime's error codes of `bench.UNSUPPORTED`, and its message for unknown operators."""
MAX_NS = 1e15
TAIL_LINES = 15
MAX_LINE_CHARACTERS = 500
ADVICE = (
    "Check that it starts (chromium --headless --dump-dom about:blank). A playwright much older than the browser may "
    "not support it: pip install -U playwright"
)
WRONG_SETTING = {
    "isolated": "the browser ignores the headers that isolate a page: use a newer one",
    "threads": "the runtime ignores the number of threads: use a newer one",
    "runtime_version": "the package contains files of two versions: npm install onnxruntime-web again",
}

Say = Callable[[int, int], None]


class OutOfMemory(Exception):
    """A page crashed or stopped because memory was full."""


# ---------------------------------------------------------------- the page


def served_files(models: Sequence[Path], runtime: Path) -> dict[str, tuple[Path | bytes, str]]:
    """Return all files that the page may request, with their types."""
    dist = {f"ort/{name}": runtime / "dist" / name for name in RUNTIME_FILES}
    files = {"bench.mjs": Path(__file__).resolve().parent / "bench.mjs", **dist}
    served: dict[str, tuple[Path | bytes, str]] = {name: (path, TYPES[path.suffix]) for name, path in files.items()}
    references = {"sentinel": bench.SENTINEL_MODEL, "empty": bench.EMPTY_MODEL}
    sources = {**references, **{str(index): path for index, path in enumerate(models)}}
    served.update({f"models/{name}": (source, "application/octet-stream") for name, source in sources.items()})
    return {**served, "": (PAGE, "text/html; charset=utf-8")}


@contextlib.contextmanager
def serving(files: dict[str, tuple[Path | bytes, str]]) -> Iterator[str]:
    """Serve files on loopback with the headers that isolate a page, and return its address."""
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
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}{root}"
        finally:
            server.shutdown()


@contextlib.contextmanager
def browser_folder() -> Iterator[str]:
    """Create a temporary folder; it is removed as far as a browser that is still ending allows."""
    folder = tempfile.mkdtemp()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def fresh_page(address: str, args: argparse.Namespace) -> Iterator[tuple[Page, str]]:
    """Open a page in a new browser, and return it with the browser's version.

    Raises:
        OutOfMemory: the page or the browser crashed.
        bench.SessionFailed: the browser does not start, or it failed otherwise.
    """
    ended: list[str] = []
    errors: list[str] = []
    try:
        with browser_folder() as folder, sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=args.chromium,
                # Otherwise it leaves caches and crash report settings in the user's home folder.
                env={**os.environ, "XDG_CONFIG_HOME": folder, "XDG_CACHE_HOME": folder},
                args=["--js-flags=--expose-gc"],
                # Chromium refuses to run as root with its sandbox; for all other users the sandbox stays.
                chromium_sandbox=not hasattr(os, "geteuid") or os.geteuid() != 0,
            )
            browser.on("disconnected", lambda _: ended.append("the browser ended"))
            page = browser.new_page()
            page.on("crash", lambda _: ended.append("the page crashed"))
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.goto(address, timeout=1000 * LOADING_SECONDS)
            yield page, browser.version
            ended.clear()
            browser.close()
    except PlaywrightError as error:
        if ended:
            raise OutOfMemory(ended[0]) from None
        lines = [line[:MAX_LINE_CHARACTERS] for line in [*errors, *str(error).splitlines()] if line.strip()]
        raise bench.SessionFailed("\n".join(["the browser failed:", *lines[:TAIL_LINES], ADVICE])) from None


def in_page(models: Sequence[Path], args: argparse.Namespace, say: Say) -> list[dict[str, Any]]:
    """Time the models in one new page, and return their rows.

    Raises:
        OutOfMemory: memory was too small for all models at once.
        bench.SessionFailed: the browser failed.
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
        result = validated(page.evaluate("(job) => globalThis.bench(job)", job), len(models), args)
        after, peak = circumstances(), peak_renderer_bytes()
    errors = {int(index): failure_message(text, result["runtime_version"]) for index, text in result["errors"].items()}
    machine = {**environment(result, version), **bench.recorded_circumstances(before, after)}
    warnings = bench.thread_warnings(args.threads, bench.usable_cores())
    warnings += bench.machine_warnings(bench.without_jumps(result["timed"]["sentinel"])[0], before, after)
    # A page does not report the runs of a repetition or the memory growth of each model.
    loaded = bench.Loaded({}, {}, errors, dict.fromkeys(result["timed"]), result["batch_sizes"])
    rows = bench.to_rows(models, args, result["timed"], loaded, peak, machine, warnings)
    for index, row in enumerate(rows):
        row["benchmark_info"]["runs_per_sample"] = result["batches"].get(str(index))
    return rows


def environment(result: dict[str, Any], version: str) -> dict[str, Any]:
    """Return bench.py's description of the machine, with the runtime and the browser."""
    return {
        **bench.environment(),
        "runtime": "onnxruntime-web",
        # The browser compiles the WebAssembly, so its version is part of the runtime's.
        "runtime_version": f"{result['runtime_version']}+chromium{version.partition('.')[0]}",
        "runtime_build": "wasm, SIMD, threads",
        "browser": f"Chromium {version}",
        "isolated": result["isolated"],
        "clock_resolution_us": result["resolution_ns"] / 1e3,
        "affinity": None,
        "nice": os.nice(0) if hasattr(os, "nice") else None,
    }


def validated(text: Any, models: int, args: argparse.Namespace) -> dict[str, Any]:
    """Return the result of a page, checked: the given setting, and numbers for every model.

    Raises:
        OutOfMemory: the page reports that memory is full.
        bench.SessionFailed: the result is malformed or of another setting.
    """
    try:
        result = json.loads(text, parse_constant=lambda word: float(word + " is not a number"))
        if "full" in result:
            raise OutOfMemory(str(result["full"])[:500])
        expected = {"isolated": True, "threads": args.threads, "runtime_version": package_version(args.runtime)}
        for key, value in expected.items():
            if result[key] != value:
                raise bench.SessionFailed(
                    f"{key} is {str(result[key])[:50]!r}, expected {value!r}: {WRONG_SETTING[key]}"
                )
        errors = {str(index) for index in range(models)} & result["errors"].keys()
        timed = {"sentinel", "empty", *map(str, range(models))} - errors
        _check(result["timed"].keys() == timed and result["errors"].keys() == errors, "models")
        _check(all(isinstance(text, str) for text in result["errors"].values()), "errors")
        _check(0 < result["resolution_ns"] < 1e9, "resolution_ns")
        _check(all(isinstance(result["batches"][name], int) for name in timed), "batches")
        sizes = result["batch_sizes"]
        _check(sizes.keys() == timed and all(isinstance(size, int) and size > 0 for size in sizes.values()), "batches")
        for rounds in result["timed"].values():
            _check(len(rounds) == args.rounds and all(0 < len(one) <= bench.MAX_RUNS for one in rounds), "rounds")
            _check(all(math.isfinite(value) and abs(value) < MAX_NS for one in rounds for value in one), "samples")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise bench.SessionFailed(f"the page gave a malformed result: {type(error).__name__}: {error}") from None
    return result


def _check(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"{what} malformed")


def package_version(runtime: Path) -> str:
    """Return the version in a package's package.json."""
    return str(json.loads((runtime / "package.json").read_text(encoding="utf-8"))["version"])


def failure_message(text: str, version: str) -> str:
    """Return why a model is not timed, in one line, like `bench.failure_message`."""
    message = " ".join(text.split())
    unsupported = UNSUPPORTED.search(message)
    message = re.sub(r"^.*?ERROR_CODE: \d+, ERROR_MESSAGE: (Load model from .*? failed:)?", "", message)
    message = re.sub(r"\S+\.(?:h|cc|cpp):\d+ .*?\) (?=[A-Z])", "", message).rstrip(".")
    if not unsupported:
        return message
    return (
        f"onnxruntime-web {version} cannot run it: {message}: "
        "install a newer one, or export the model with operators and an opset that this one supports"
    )


# ---------------------------------------------------------------- the machine


def circumstances() -> dict[str, Any]:
    """Return bench.py's circumstances, with the CPU time of the browser's processes counted as this process's."""
    own = sum(seconds for _, seconds in own_processes())
    return {**bench.circumstances(0), "own_s": time.process_time() + own}


def own_processes() -> list[tuple[int, float]]:
    """Return the ids and CPU seconds of this process and all its descendants."""
    processes: dict[int, tuple[int, float]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            # A program's name may contain anything, even spaces.
            words = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            ticks = int(words[11]) + int(words[12])
            processes[int(path.parent.name)] = int(words[1]), ticks / os.sysconf("SC_CLK_TCK")
    own, fresh = set(), {os.getpid()}
    while fresh:
        fresh = {process for process, (parent, _) in processes.items() if parent in fresh} - own
        own |= fresh
    return [(process, processes[process][1]) for process in sorted(own)]


def peak_renderer_bytes() -> int | None:
    """Return the peak resident memory of the page's process; None if the system does not report it."""
    peaks = []
    for process, _ in own_processes():
        with contextlib.suppress(OSError, ValueError, IndexError):
            folder = Path("/proc") / str(process)
            if b"--type=renderer" in (folder / "cmdline").read_bytes():
                status = (folder / "status").read_text(encoding="utf-8", errors="replace")
                peaks.append(int(status.split("VmHWM:")[1].split()[0]) * 1024)
    return max(peaks) if peaks else None


def end_with(parent: int) -> None:
    """End this process, and with it the browser, when its parent ends."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


# ---------------------------------------------------------------- main


def benchmark(models: Sequence[Path], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Time all models and return one row each, in the given order."""
    parts = shares(models)
    totals = [steps(part, args) for part in parts]
    rows = []
    for number, part in enumerate(parts):
        rows += in_pages(part, args, scaled_progress(sum(totals[:number]), sum(totals)))
    for index, row in enumerate(rows):
        row["benchmark_info"]["index"] = index
    return rows


def steps(models: Sequence[Path], args: argparse.Namespace) -> int:
    """Return the progress steps of a page: models loaded, and repetitions of all models and both references."""
    return len(models) + args.rounds * (len(models) + 2)


def shares(models: Sequence[Path], page_bytes: int = PAGE_BYTES) -> list[Sequence[Path]]:
    """Return the models by page, in their order, so that each page has enough memory."""
    sizes = [path.stat().st_size if path.exists() else 0 for path in models]
    pages = max(1, math.ceil(sum(sizes) / page_bytes))
    return [models[len(models) * page // pages : len(models) * (page + 1) // pages] for page in range(pages)]


def in_pages(models: Sequence[Path], args: argparse.Namespace, say: Say) -> list[dict[str, Any]]:
    """Return the rows of the models from one page, or from several if memory is too small."""
    try:
        return in_page(models, args, say)
    except OutOfMemory as failure:
        if len(models) > 1:
            half = len(models) // 2
            return in_pages(models[:half], args, say) + in_pages(models[half:], args, say)
        error = f"a page with only this model crashed ({failure}): memory is full"
        info = bench.benchmark_info(0, models[0], args, None)
        return [{"schema_version": bench.SCHEMA_VERSION, "benchmark_info": info, "error": error}]


def scaled_progress(before: int, total: int) -> Say:
    """Return a function that prints a page's progress as part of that of all pages."""

    def say(done: int, _: int) -> None:
        print(f"progress {before + done} {total}", file=sys.stderr, flush=True)

    return say


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    command = argparse.ArgumentParser(description="Time ONNX models in a web browser, one JSON line each.")
    command.add_argument("models", nargs="+", metavar="MODEL_OR_FOLDER", help=".onnx files, or folders of them")
    command.add_argument("--chromium", required=True, help="the browser's executable")
    command.add_argument("--runtime", required=True, type=Path, help="folder of the npm package onnxruntime-web")
    command.add_argument("--threads", type=bench.positive, default=1, help="threads of an operator (default 1)")
    command.add_argument("--provider", choices=["wasm"], default="wasm", help="execution provider")
    command.add_argument("--optimisation-level", choices=list(bench.LEVELS), default="all", help="graph optimisations")
    command.add_argument("--spinning", action="store_true", help="required with several threads, which always spin")
    command.add_argument(
        "--rounds", type=bench.positive, default=20, help="timed repetitions of every model (default 20)"
    )
    command.add_argument("--seed", type=int, default=0, help="seed of inputs and of the order of models")
    command.add_argument("--out", help="file to append the rows to (default: standard output)")
    command.add_argument("--raw-samples", type=int, default=bench.MAX_RAW_SAMPLES, help="samples to keep in a row")
    command.add_argument("--with-parent", action="store_true", help="end when the parent process ends")
    return command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0: every model was timed, 1: one was not, or the browser failed."""
    args = parser().parse_args(argv)
    if args.spinning != (args.threads > 1):
        parser().error("--spinning is required with --threads above 1, and not allowed with 1")
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
    except (bench.SessionFailed, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return bench.report_failures(rows)


if __name__ == "__main__":
    sys.exit(main())
