"""The browser as a device: what it takes is found or named, what it says is looked at, and it is left as it was."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from browsers import CHROMIUM, RUNTIME, browser_device, browsers_below, needs_browser, still_there
from onnx import TensorProto, helper

from edgenas.deploy.int8.quantiser_recipe import RECIPES
from edgenas.deploy.int8.quantize import quantise_for_timing
from edgenas.deploy.onnx.exporter import export_for_timing
from edgenas.errors import ConfigError, MeasurementError
from edgenas.files import read_jsonl
from edgenas.latency.device import Device, DeviceRun, dump_device, load_device
from edgenas.profiling.device_probe import probe_device
from edgenas.profiling.measurement import PROCESSES, to_identity
from edgenas.profiling.session import measure_networks
from edgenas.profiling.transport import Job
from edgenas.profiling.transports import browser, local
from edgenas.profiling.transports.browser import FILES, BrowserTransport, browser_version, find_browser
from edgenas.space.loading import load_space


def make_package(folder: Path, version: str = "1.30.0", name: str = "onnxruntime-web") -> Path:
    """An npm package that is none but for its form."""
    (folder / "dist").mkdir(parents=True)
    (folder / "package.json").write_text(json.dumps({"name": name, "version": version}))
    for file in FILES:
        (folder / "dist" / file).write_text("")
    return folder


def make_program(path: Path, says: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder below one that holds all it takes; the browser is on the path."""
    make_package(tmp_path / "node_modules" / "onnxruntime-web")
    make_program(tmp_path / "bin" / "chromium", "Chromium 141.0.7390.54 built on Debian")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    monkeypatch.setattr(browser, "find_spec", lambda name: object())
    work = tmp_path / "some" / "where"
    work.mkdir(parents=True)
    monkeypatch.chdir(work)
    return work


IN_BROWSER = DeviceRun(transport="browser")


def test_browser_and_runtime_are_found_and_are_both_part_of_the_version(there: Path) -> None:
    transport = find_browser(IN_BROWSER)
    above = there.parent.parent
    assert transport == BrowserTransport(above / "bin" / "chromium", above / "node_modules" / "onnxruntime-web")
    assert transport.runtime_version("1.20.0+chromium99") == "1.30.0+chromium141"


def test_a_device_file_may_say_where_they_are(there: Path, tmp_path: Path) -> None:
    runtime = make_package(tmp_path / "elsewhere", "1.29.1")
    chromium = make_program(tmp_path / "opt" / "my-chromium", "Google Chrome 140.0.1.2")
    run = IN_BROWSER.model_copy(update={"chromium": chromium, "onnxruntime_web": runtime})
    assert find_browser(run) == BrowserTransport(chromium, runtime)
    assert find_browser(run).runtime_version("") == "1.29.1+chromium140"
    path = tmp_path / "web.yaml"
    device = Device(name="web", cpu="c", os="o", run=run)
    path.write_text(dump_device(device))
    assert load_device(path) == device
    assert "chromium" not in dump_device(Device(name="d", cpu="c", os="o"))


def without_playwright(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser, "find_spec", lambda name: None)


def without_chromium(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(work))


def without_runtime(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (work.parent.parent / "node_modules").rename(work.parent.parent / "other")


def with_an_old_runtime(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_package(work / "node_modules" / "onnxruntime-web", "1.17.3")


def with_another_package(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_package(work / "node_modules" / "onnxruntime-web", name="left-pad")


def with_half_a_package(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (make_package(work / "node_modules" / "onnxruntime-web") / "dist" / FILES[-1]).unlink()


def with_a_broken_package(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (make_package(work / "node_modules" / "onnxruntime-web") / "package.json").write_text("[1]")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_playwright, r"needs playwright.*pip install 'edgenas\[browser\]'"),
        (without_chromium, r"needs Chromium.*none on the PATH.*apt-get install chromium.*run\.chromium"),
        (without_runtime, r"needs onnxruntime-web.*npm install onnxruntime-web.*run\.onnxruntime_web"),
        (with_an_old_runtime, r"expected onnxruntime-web 1\.22 or newer, got 1\.17\.3: npm install"),
        (with_another_package, "expected the package onnxruntime-web, got 'left-pad'"),
        (with_half_a_package, r"lacks dist/ort-wasm-simd-threaded\.wasm: npm install"),
        (with_a_broken_package, r"package\.json cannot be read"),
    ],
)
def test_missing_parts_are_named_with_the_remedy(
    there: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path, pytest.MonkeyPatch], None], message: str
) -> None:
    change(there, monkeypatch)
    with pytest.raises(ConfigError, match=message):
        find_browser(IN_BROWSER)


def test_places_in_a_device_file_that_hold_nothing_are_named(there: Path) -> None:
    for field, message in (
        ("chromium", "/no/thing is not a program"),
        ("onnxruntime_web", "/no/thing holds no package"),
    ):
        with pytest.raises(ConfigError, match=message):
            find_browser(IN_BROWSER.model_copy(update={field: Path("/no/thing")}))


def test_a_program_that_is_no_browser_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--version printed 'cat 9\.1.*: is it Chromium"):
        browser_version(make_program(tmp_path / "chromium", "cat 9.1"))
    with pytest.raises(ConfigError, match="is it Chromium"):
        browser_version(tmp_path)


def test_a_browser_is_described_by_the_machine_it_runs_on(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr("edgenas.latency.device.usable_cores", lambda: 2)
    device = probe_device("web", 2, "int8", on="browser")
    assert device.run == DeviceRun(transport="browser", provider="wasm", threads=2, spinning=True, precision="int8")
    assert device.description == "probed; onnxruntime-web 1.30.0 in Chromium 141.0.7390.54"
    identity = to_identity(device, "1.30.0+chromium141", 1)
    assert (identity.runtime, identity.provider) == ("onnxruntime-web", "wasm")
    assert identity.setting == "ort-web1.30-wasm-int8-t2-spin"


def honest(model: Path, index: int, **changes: Any) -> dict[str, Any]:
    quantiles = dict.fromkeys(("mean", "min", "max", "p10", "p50", "p90", "p95", "p99", "std"), 0.05)
    setting = {"threads": 1, "provider": "wasm", "optimisation_level": "all", "spinning": False}
    return {
        "schema_version": 1,
        "benchmark_info": {"index": index, "model": model.name, **setting},
        "latency_ms": quantiles,
        "ci_p50_ms": [0.05, 0.05],
        "rounds_p50_ms": [0.05],
        "count": 1,
        "call_overhead_ms": 0.01,
        "sentinel_p50_ms": 0.1,
        "sentinel_drift": 0.0,
        "environment": {"runtime_version": "1.30.0+chromium141", "browser": "Chromium\x1b[2J", "more": {"deep": 1}},
        "warnings": ["\x1b[31mred"],
        **changes,
    }


def test_only_printable_parts_of_rows_from_a_page_are_stored(
    there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = []

    def timer(command: list[str], progress: Any) -> tuple[int, str]:
        commands.append(command)
        rows = [honest(Path("m.onnx"), 0, injected="x" * 10**6)]
        Path(command[command.index("--out") + 1]).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return 0, ""

    monkeypatch.setattr(local, "_run", timer)
    device = Device(name="web", cpu="c", os="o", run=IN_BROWSER)
    ((_, _, row),) = find_browser(IN_BROWSER).time([Job((tmp_path / "m.onnx",), 1, 0)], device)
    assert row["environment"] == {"runtime_version": "1.30.0+chromium141", "browser": "Chromium [2J"}
    assert row["warnings"] == [" [31mred"]
    assert "injected" not in row
    (command,) = commands
    assert command[command.index("--chromium") + 1].endswith("bin/chromium")
    assert command[command.index("--provider") + 1] == "wasm"


def test_rows_of_another_provider_are_refused(there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = honest(Path("m.onnx"), 0)
    row["benchmark_info"]["provider"] = "cpu"

    def timer(command: list[str], progress: Any) -> tuple[int, str]:
        Path(command[command.index("--out") + 1]).write_text(json.dumps(row) + "\n")
        return 0, ""

    monkeypatch.setattr(local, "_run", timer)
    device = Device(name="web", cpu="c", os="o", run=IN_BROWSER)
    with pytest.raises(MeasurementError, match="provider is 'cpu', expected 'wasm'"):
        next(find_browser(IN_BROWSER).time([Job((tmp_path / "m.onnx",), 1, 0)], device))


# ---------------------------------------------------------------- with a real browser


def make_model(path: Path, nodes: int = 1, operator: str = "Relu") -> Path:
    names = [f"t{number}" for number in range(nodes + 1)]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 64]) for name in (names[0], names[-1])]
    chain = [helper.make_node(operator, [a], [b]) for a, b in itertools.pairwise(names)]
    graph = helper.make_graph(chain, "tiny", [values[0]], [values[1]])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_models_are_timed_and_what_was_kept_is_not_timed_again(tmp_path: Path, threads: int) -> None:
    networks = {str(n): make_model(tmp_path / f"{n}.onnx", n) for n in (1, 400)}
    device, out = browser_device(threads=threads), tmp_path / "rows.jsonl"
    transport = find_browser(device.run)
    steps: list[tuple[int, int]] = []

    def measured() -> dict[str, Any]:
        note = lambda _, done, total: steps.append((done, total))  # noqa: E731
        return measure_networks(
            networks, device, rounds=2 * PROCESSES, seed=0, out=out, transport=transport, progress=note
        )

    found = measured()
    assert 0 < found["1"].p50_us < found["400"].p50_us < 1e5
    assert steps[-1][0] == steps[-1][1]
    lines = read_jsonl(out)
    assert len(lines) == 2 * PROCESSES
    for line in lines:
        environment, info = line["timed"]["environment"], line["timed"]["benchmark_info"]
        assert environment["runtime"] == line["identity"]["runtime"] == "onnxruntime-web"
        assert environment["runtime_version"] == line["identity"]["runtime_version"] == transport.runtime_version("")
        assert environment["isolated"] is True
        assert environment["browser"].startswith("Chromium ")
        assert 1 <= environment["clock_resolution_us"] <= 100
        assert (info["provider"], info["threads"]) == ("wasm", threads)
        # What the clock cannot tell apart is below a percent of a sample.
        sample_us = 1e3 * line["timed"]["latency_ms"]["p50"] * info["runs_per_sample"]
        assert sample_us > 90 * environment["clock_resolution_us"]
        assert line["timed"]["memory"]["peak_rss_bytes"] > 10**7
    # Of a run that was stopped, all but one process of one model is there: one browser is started, for that.
    out.write_text("".join(json.dumps(line) + "\n" for line in lines[:-1]))
    steps.clear()
    again = measured()
    assert len(read_jsonl(out)) == len(lines)
    assert steps[-1][1] == 1 + 2 * (1 + 2)  # one model is loaded, and visited twice beside the timer's own two
    whole = "1" if lines[-1]["name"][3] == "400" else "400"
    assert again[whole] == found[whole]


@needs_browser
@pytest.mark.slow
def test_int8_networks_and_their_blocks_are_run_too(tmp_path: Path) -> None:
    space = load_space("digits-24")
    specs = space.with_classes(10).unroll(space.smallest)
    networks = {"network": specs, **{spec.name: [spec] for spec in specs}}
    files = [
        quantise_for_timing(path, tmp_path / f"int8-{name}.onnx", RECIPES[0])
        for name, path in export_for_timing(networks, tmp_path).items()
    ]
    device = browser_device()
    timed = list(find_browser(device.run).time([Job(tuple(files), 1, 0)], device))
    assert [one.row.get("error") for one in timed] == [None] * len(files)


@needs_browser
@pytest.mark.slow
def test_a_model_that_the_runtime_lacks_an_operator_for_is_named_and_the_others_come(tmp_path: Path) -> None:
    models = (make_model(tmp_path / "broken.onnx", operator="Levitate"), make_model(tmp_path / "fine.onnx"))
    device = browser_device()
    timed = list(find_browser(device.run).time([Job(models, 1, seed) for seed in (0, 1)], device))
    assert [(one.job, one.model) for one in timed if "error" not in one.row] == [(0, 1), (1, 1)]
    (error,) = [one.row["error"] for one in timed if "error" in one.row]
    assert "onnxruntime-web" in error
    assert "Levitate" in error
    assert "install a newer one" in error


ENDLESS = """\
import sys
from pathlib import Path
from edgenas.latency.device import probe
from edgenas.profiling.transports.browser import BrowserTransport
from edgenas.profiling.transport import Job
from edgenas.space.loading import load_space
chromium, runtime, model = map(Path, sys.argv[1:])
device = probe()
device = device.model_copy(update={"run": device.run.in_browser()})
list(BrowserTransport(chromium, runtime).time([Job((model,), 10**6, 0)], device, print))
"""


@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_stopped_or_killed_it_leaves_no_browser(tmp_path: Path, end: signal.Signals) -> None:
    model = make_model(tmp_path / "m.onnx")
    command = [sys.executable, "-u", "-c", ENDLESS, str(CHROMIUM), str(RUNTIME), str(model)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline()
        started = browsers_below(parent.pid)
        parent.send_signal(end)
    assert parent.returncode == -end
    assert started
    # Nobody is left to wait for the others when this one is killed.
    assert still_there(started, seconds=5 if end == signal.SIGINT else 10) == []
    if end == signal.SIGINT:
        assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
