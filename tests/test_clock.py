"""A device without a clock of its own is in 1970, until its clock jumps: nothing depends on the time of day."""

from __future__ import annotations

import json
import os
import time
import zipfile
from pathlib import Path

import onnx
import pytest
from kit_scripts import load_script
from onnx import TensorProto, helper

from edgenas.archives import zip_entry
from edgenas.files import shipped
from edgenas.latency.device import probe
from edgenas.profiling import kit
from edgenas.profiling.kit import ExpectedRows, write_kit
from edgenas.profiling.transport import Job
from edgenas.profiling.transports.ssh import _tools

TIME_OF_DAY = ("time.time(", "time_ns(", "getmtime(", "st_mtime", "getctime(", "st_ctime", ".utcnow(")


@pytest.fixture
def in_1970(monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.localtime
    monkeypatch.setattr(time, "time", lambda: 600.0)
    monkeypatch.setattr(time, "localtime", lambda seconds=600.0: real(seconds))


def date(path: Path, seconds: float) -> Path:
    os.utime(path, (seconds, seconds))
    return path


@pytest.mark.usefixtures("in_1970")
def test_results_are_written_before_1980(tmp_path: Path) -> None:
    bench = load_script("bench")
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"a": 1}\n', encoding="utf-8")
    bench.write_results(date(rows, 600.0), tmp_path / "results.zip")
    with zipfile.ZipFile(tmp_path / "results.zip") as archive:
        assert archive.read("rows.jsonl") == b'{"a": 1}\n'
        assert json.loads(archive.read("probe.json"))["runtime"] == "onnxruntime"
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["results.zip", "rows.jsonl"]


@pytest.mark.usefixtures("in_1970")
def test_kits_are_packed_before_1980(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 64]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "tiny", [values[0]], [values[1]])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "m.onnx")
    folder = tmp_path / "export"
    folder.mkdir()
    for name in ("bench.py", "remote.py"):
        (folder / name).write_bytes((shipped("export") / name).read_bytes())
        date(folder / name, 0.0)
    monkeypatch.setattr(kit, "shipped", lambda _: folder)
    device = probe("mine")
    with open(tmp_path / "kit.zip", "w+b") as stream:
        write_kit(stream, ExpectedRows([Job((tmp_path / "m.onnx",), 2, 0)], device.run), device, readme=True)
    with zipfile.ZipFile(tmp_path / "kit.zip") as archive:
        assert {"jobs.json", "bench.py", "run.sh", "README.txt"} <= set(archive.namelist())
        assert archive.testzip() is None
    with zipfile.ZipFile(_tools()) as archive:
        assert archive.namelist() == ["bench.py", "remote.py"]


def test_archives_of_equal_content_are_equal() -> None:
    entry = zip_entry("a/b")
    assert (entry.date_time, entry.external_attr >> 16) == ((1980, 1, 1, 0, 0, 0), 0o100644)


def test_a_lease_is_counted_by_a_clock_that_does_not_jump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remote = load_script("remote")
    now = [0.0]
    monkeypatch.setattr(remote.time, "monotonic", lambda: now[0])
    remote.touch(str(tmp_path))
    last_request = remote.LastRequest(str(tmp_path))
    for of_day in (600.0, 1.8e9, 600.0):
        monkeypatch.setattr(remote.time, "time", lambda of_day=of_day: of_day)
        date(tmp_path / "alive", of_day)
        now[0] += 10
    assert last_request.seconds_ago() == 30
    remote.touch(str(tmp_path))
    now[0] += 5
    assert last_request.seconds_ago() == 0  # seen only now
    now[0] += 7
    assert last_request.seconds_ago() == 7
    (tmp_path / "alive").unlink()
    assert last_request.seconds_ago() == float("inf")


def test_sessions_belong_together_by_what_the_models_hold(tmp_path: Path) -> None:
    bench = load_script("bench")
    first, second = tmp_path / "a.onnx", tmp_path / "b.onnx"
    first.write_bytes(b"a model")
    second.write_bytes(b"another")
    date(first, 600.0), date(second, 600.0)
    assert bench.file_digest(str(first)) != bench.file_digest(str(second))
    again = bench.file_digest(str(first))
    assert bench.file_digest(str(date(first, 1.8e9))) == again


@pytest.mark.parametrize("folder", ["edgenas", "export", "latency_tables"])
def test_no_duration_and_no_decision_comes_from_the_time_of_day(folder: str) -> None:
    root = Path(kit.__file__).parents[1] if folder == "edgenas" else shipped(folder)
    uses = [
        f"{path.name}: {word}"
        for path in sorted(root.rglob("*.py"))
        for word in TIME_OF_DAY
        if word in path.read_text(encoding="utf-8")
    ]
    assert uses == []
