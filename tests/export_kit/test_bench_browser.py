"""The script that times models in a browser: the files it serves, the results it accepts, and pages that end."""

from __future__ import annotations

import argparse
import copy
import http.client
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.parse
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from browsers import CHROMIUM, RUNTIME, browsers_below, needs_browser

from edgenas.files import shipped

SCRIPT = shipped("export") / "bench_browser.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    pytest.importorskip("playwright", reason="needs playwright: pip install 'edgenas[browser]'")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPT.parent))
        return importlib.import_module("bench_browser")


@pytest.fixture
def args(tmp_path: Path) -> argparse.Namespace:
    runtime = tmp_path / "onnxruntime-web"
    (runtime / "dist").mkdir(parents=True)
    (runtime / "package.json").write_text('{"name": "onnxruntime-web", "version": "1.30.0"}')
    (runtime / "dist" / "ort.wasm.min.mjs").write_text("// runtime")
    return argparse.Namespace(
        runtime=runtime,
        chromium=CHROMIUM,
        threads=1,
        provider="wasm",
        optimisation_level="all",
        spinning=False,
        rounds=2,
        seed=0,
        raw_samples=10,
    )


def test_the_page_is_served_isolated_under_a_path_that_nobody_knows_and_nothing_else_is(script, args, tmp_path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"model")
    with script.serving(script.served_files([tmp_path / "m.onnx"], args.runtime)) as address:
        parts = urllib.parse.urlsplit(address)
        assert parts.hostname == "127.0.0.1"
        connection = http.client.HTTPConnection("127.0.0.1", parts.port, timeout=10)

        def get(path: str) -> tuple[int, http.client.HTTPResponse, bytes]:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer, answer.read()

        status, answer, body = get(parts.path)
        assert (status, b"bench.mjs" in body) == (200, True)
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        assert get(parts.path + "models/0")[2] == b"model"
        assert get(parts.path + "models/sentinel")[2] == script.bench.SENTINEL_MODEL
        assert get(parts.path + "bench.mjs")[2] == (SCRIPT.parent / "bench.mjs").read_bytes()
        _, answer, body = get(parts.path + "ort/ort.wasm.min.mjs")
        assert (body, answer.headers["Content-Type"]) == (b"// runtime", "text/javascript")
        for wrong in ("/", "/models/0", "models/1", "ort/../package.json", "../x", "package.json", "bench.py"):
            assert get(wrong if wrong.startswith("/") else parts.path + wrong)[0] == 404


VALID: dict[str, Any] = {
    "errors": {"1": "no"},
    "timed": {name: [[1e6, 1e6], [1e6]] for name in ("sentinel", "empty", "0")},
    "batches": {"sentinel": 1, "empty": 1, "0": 1},
    "batch_sizes": {"sentinel": 128, "empty": 1, "0": 1},
    "resolution_ns": 5000,
    "isolated": True,
    "threads": 1,
    "runtime_version": "1.30.0",
}


def test_a_valid_result_passes(script, args) -> None:
    assert script.validated(json.dumps(VALID), 2, args) == VALID


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (["isolated"], False, "isolated is 'False', expected True"),
        (["threads"], 4, "threads is '4', expected 1"),
        (["runtime_version"], "1.29.0", "runtime_version is '1.29.0', expected '1.30.0'"),
        (["timed", "2"], [[1.0], [1.0]], "models"),
        (["timed", "empty"], [[1.0]], "rounds"),
        (["timed", "0"], [[1.0], []], "rounds"),
        (["timed", "0"], [[1.0], [1.0] * 10**4], "rounds"),
        (["timed", "0"], [[1.0], ["x"]], "TypeError"),
        (["timed", "0"], [[1.0], [1e300]], "samples"),
        (["timed", "0"], [[1.0], [float("nan")]], "NaN is not a number"),
        (["timed"], None, "AttributeError"),
        (["errors", "1"], {"deep": 1}, "errors"),
        (["batches", "0"], "1", "batches"),
        (["batch_sizes", "0"], 0, "batches"),
        (["batch_sizes"], {"0": 1}, "batches"),
        (["resolution_ns"], 0, "resolution_ns"),
    ],
)
def test_invalid_results_are_refused(script, args, place: list[str], value: Any, message: str) -> None:
    result = copy.deepcopy(VALID)
    *path, last = place
    inner = result
    for key in path:
        inner = inner[key]
    inner[last] = value
    with pytest.raises(script.bench.SessionFailed, match=message):
        script.validated(json.dumps(result), 2, args)


def test_a_page_may_report_that_memory_is_full(script, args) -> None:
    with pytest.raises(script.OutOfMemory, match="bad_alloc"):
        script.validated('{"full": "std::bad_alloc"}', 2, args)


@pytest.mark.parametrize("text", ["", "[]", "1", "null", "{}", None])
def test_malformed_results_are_refused(script, args, text) -> None:
    with pytest.raises(script.bench.SessionFailed, match="gave a malformed result"):
        script.validated(text, 2, args)


def test_a_model_too_large_for_a_page_is_found_and_the_others_are_timed(script, args, monkeypatch) -> None:
    sizes = {f"m{number}": 10 for number in range(7)} | {"m3": 1000}
    pages = []

    def full_over_100(models, args, say) -> list[dict]:
        pages.append(len(models))
        if sum(sizes[model.name] for model in models) > 100:
            raise script.OutOfMemory("bad_alloc")
        return [{"benchmark_info": {"index": i, "model": model.name}} for i, model in enumerate(models)]

    monkeypatch.setattr(script, "in_page", full_over_100)
    rows = script.benchmark([Path(name) for name in sizes], args)
    assert [row["benchmark_info"]["model"] for row in rows] == list(sizes)
    assert [row["benchmark_info"]["index"] for row in rows] == list(range(7))
    assert ["memory is full" in row.get("error", "") for row in rows] == [name == "m3" for name in sizes]
    assert pages[0] == 7


def test_models_too_large_for_one_page_are_split_over_pages(script, tmp_path) -> None:
    models = [tmp_path / f"{number}.onnx" for number in range(5)]
    for model in models:
        model.write_bytes(bytes(100))
    assert script.shares(models) == [models]
    assert script.shares(models, 250) in ([models[:2], models[2:]], [models[:3], models[3:]])
    assert script.shares([tmp_path / "missing.onnx"]) == [[tmp_path / "missing.onnx"]]


def test_the_cause_of_a_failed_model_is_one_line(script) -> None:
    message = script.failure_message(
        "Can't create a session. ERROR_CODE: 9, ERROR_MESSAGE: Could not find Levitate(13)\n", "1.30.0"
    )
    assert message.startswith("onnxruntime-web 1.30.0 cannot run it: Could not find Levitate(13): install a newer one")
    assert (
        script.failure_message("input 'x' is int64;\nexpected float32", "1.30.0")
        == "input 'x' is int64; expected float32"
    )


def run_script(*words: object, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(SCRIPT), *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env={**os.environ, **environment}
    )


def test_without_playwright_the_line_that_installs_it_is_named(tmp_path) -> None:
    (tmp_path / "playwright").mkdir()
    (tmp_path / "playwright" / "__init__.py").write_text("raise ImportError(\"No module named 'playwright'\")")
    done = run_script("m.onnx", "--chromium", "c", "--runtime", "r", PYTHONPATH=str(tmp_path))
    assert done.returncode == 3
    assert f"No module named 'playwright': {sys.executable} -m pip install playwright" in done.stderr


@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize("part", ["--type=renderer", ""])
def test_a_killed_page_or_browser_is_noticed(script, args, part: str) -> None:
    """As it does when memory is full."""

    def kill() -> None:
        for process in browsers_below(os.getpid()):
            command = Path(f"/proc/{process}/cmdline").read_text()
            if part in command if part else "--type=" not in command:
                os.kill(process, signal.SIGKILL)

    def endless() -> None:
        with script.serving(script.served_files([], RUNTIME)) as address, script.fresh_page(address, args) as (page, _):
            threading.Timer(0.3, kill).start()
            page.evaluate("() => new Promise(() => {})")

    with pytest.raises(script.OutOfMemory, match="the page crashed" if part else "the browser ended"):
        endless()


@needs_browser
@pytest.mark.slow
def test_a_browser_that_does_not_start_is_reported_in_few_lines(tmp_path) -> None:
    fake = tmp_path / "chromium"
    fake.write_text("#!/bin/sh\necho no display >&2\nexit 7\n")
    fake.chmod(0o755)
    (tmp_path / "m.onnx").write_bytes(b"")
    done = run_script(tmp_path / "m.onnx", "--chromium", fake, "--runtime", RUNTIME, "--rounds", 1)
    assert done.returncode == 1
    assert "bench: the browser failed" in done.stderr
    assert "no display" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) < 25
