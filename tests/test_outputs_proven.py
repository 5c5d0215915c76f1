"""Where a result shall go is tried out before anything costly is done for it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
from damaging import call
from kit_scripts import load_script
from onnx import TensorProto, helper
from small_run import SMALL_CONFIG, SMALL_SPACE

from edgenas.files import prove_file, prove_writable
from edgenas.latency.table import check_new, table_names
from edgenas.stages import bundle_extras as handing
from edgenas.stages.bundle_extras import hand_over
from edgenas.studies.baseline_training import BaselineSettings, BaselineStudy
from edgenas.studies.baselines import run_baselines
from edgenas.studies.ranking import RankingSettings, run_ranking
from edgenas.studies.strategies import StrategySettings, run_strategies


def silent(label: str, done: int, total: int) -> None:
    """Progress that nobody looks at."""


@pytest.fixture
def taken(tmp_path: Path) -> Path:
    """A folder with a file where a folder of a path shall be."""
    (tmp_path / "file").write_text("kept")
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 64]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "tiny", [values[0]], [values[1]])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "m.onnx")
    (tmp_path / "tiny-16.yaml").write_text(SMALL_SPACE)
    (tmp_path / "small.yaml").write_text(SMALL_CONFIG)
    (tmp_path / "rows.csv").write_text("arch,latency_ms\nr16_w8-k3e1_w16-k3e2,1.5\n")
    return tmp_path


def test_a_place_that_can_be_written_is_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("kept")
    for path in (tmp_path / "old", tmp_path / "new", tmp_path / "a" / "b" / "new"):
        prove_writable(path)
        prove_file(path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("old", "kept")]


def test_a_relative_path_is_one_of_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    prove_writable(Path("new"))
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        prove_writable(Path("file/new"))


def test_a_file_or_a_dangling_link_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "link"):
        with pytest.raises(NotADirectoryError) as error:
            prove_writable(tmp_path / name / "a" / "b")
        assert error.value.filename == str(tmp_path / name)


def test_a_folder_is_no_place_for_a_file(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        prove_file(tmp_path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_disks_that_take_nothing_are_found_out(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=os.strerror(number)) as error:
        prove_writable(tmp_path / "out")
    assert error.value.filename == str(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that even root cannot write into")
def test_nobody_writes_into_proc() -> None:
    with pytest.raises(OSError, match="/proc/edgenas/out"):
        prove_writable(Path("/proc/edgenas/out"))


COSTLY = {
    ("inspect", "m.onnx", "--plot", "file/a.png"): "edgenas.deploy.inspection.inspect.inspect_model",
    ("gate", "bundle", "--budget", "1ms", "--evidence", "file/a.json"): "edgenas.gate.gate.gate",
    ("devices", "probe", "file/a.yaml", "--on", "ssh://host"): "edgenas.profiling.device_probe.probe_device",
    ("run", "small.yaml", "--run", "file/run"): "edgenas.stages.start.load_images",
    ("run", "small.yaml", "--pack", "file/kit.zip"): "edgenas.stages.start.load_images",
    ("profile", "small.yaml", "--pack", "file/kit.zip"): "edgenas.stages.start.load_images",
    ("study", "strategies", "small.yaml", "--run", "file/run"): "edgenas.stages.start.load_images",
    ("tables", "merge", "A", "A", "--out", "file/t"): "edgenas.latency.table.find_table",
    (
        *("tables", "import", "rows.csv", "--out", "file/t", "--space", "tiny-16.yaml"),
        *("--classes", "10", "--device", "mine"),
    ): "edgenas.latency.table_import.import_networks",
    (
        *("import", "ofa-accuracy", "m.onnx", "--out", "file/a.safetensors"),
    ): "edgenas.accuracy.ofa_predictor.OFAAccuracy.read_published",
    (
        *("import", "ofa", "m.onnx", "--calibration-images", ".", "--run", "file/run"),
    ): "edgenas.stages.import_ofa.import_ofa_checkpoint",
}


@pytest.mark.parametrize(("words", "costly"), COSTLY.items(), ids=[" ".join(words[:2]) for words in COSTLY])
def test_commands_try_their_outputs_first(
    words: tuple[str, ...], costly: str, taken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("something costly was done first")

    monkeypatch.setattr(costly, fail)
    before = sorted(path.name for path in taken.iterdir())
    ended = call(*[table_names()[0] if word == "A" else word for word in words], cwd=taken)
    assert (ended.code, ended.stdout) == (2, ""), ended.stderr
    assert "file: Not a directory: check the path" in ended.stderr
    assert sorted(path.name for path in taken.iterdir()) == before
    assert (taken / "file").read_text() == "kept"


def test_a_new_table_is_no_old_one(tmp_path: Path) -> None:
    check_new(tmp_path / "new")
    with pytest.raises(ValueError, match="exists: choose another --out"):
        check_new(tmp_path)


@pytest.mark.parametrize(
    "begin",
    [
        lambda run: run_strategies(run, StrategySettings(("random",), 1, 4), silent),
        lambda run: run_ranking(run, RankingSettings(6, None, None, 1), silent),
        lambda run: run_baselines(run, BaselineSettings(1, None), silent),
    ],
    ids=["strategies", "ranking", "baselines"],
)
def test_studies_of_a_run_try_their_folder_first(
    begin: Callable[[Any], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        BaselineStudy, "of", lambda run, settings: SimpleNamespace(folder=run.folder / "study/baselines")
    )
    (tmp_path / "study").write_text("a file of the user's")
    # A run that has only a folder: anything else fails with another error.
    with pytest.raises(NotADirectoryError):
        begin(SimpleNamespace(folder=tmp_path, require=lambda stage: None))


@pytest.mark.parametrize(("as_zip", "web"), [(False, True), (True, False)])
def test_what_is_handed_over_has_its_place_first(
    as_zip: bool, web: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("something costly was done first")

    monkeypatch.setattr(handing, "run_stages", fail)
    (tmp_path / "file").write_text("")
    run: Any = SimpleNamespace(folder=tmp_path / "file" if as_zip else tmp_path)
    page = tmp_path / "file" / "page" if web else None
    with pytest.raises(NotADirectoryError):
        hand_over(run, "chosen", None, None, as_zip=as_zip, web=page, progress=silent)


def test_the_timer_tries_its_file_first(taken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench = load_script("bench")

    def fail(*_: object) -> None:
        raise AssertionError("something costly was done first")

    bench.time_sessions = bench.benchmark = fail
    assert bench.main([str(taken / "m.onnx"), "--out", str(taken / "file" / "rows.jsonl")]) == 1
    assert "the rows cannot be written to" in capsys.readouterr().err
    bench.check_writable(str(taken / "new"))
    bench.check_writable(str(taken / "file"))
    assert not (taken / "new").exists()
    assert (taken / "file").read_text() == "kept"
