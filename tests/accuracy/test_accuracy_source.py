"""Runs whose accuracies are told from elsewhere."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from small_run import SmallRun, edgenas
from told_run import CLASSES, block_table, block_us, write_measured, write_told

from edgenas.accuracy.ofa_predictor import INPUTS, Facts, OFAAccuracy
from edgenas.accuracy.published import load_accuracy_table
from edgenas.accuracy.source import open_source
from edgenas.config.reading import load_config
from edgenas.config.sections import AccuracyConfig
from edgenas.errors import ConfigError, DataError, RunFolderError, TableError
from edgenas.files import read_json, read_jsonl, write_json
from edgenas.runs.folder import Run, open_run
from edgenas.space.cost import cost
from edgenas.space.loading import load_space
from edgenas.space.space import SearchSpace
from edgenas.stages.plan import plan_run
from edgenas.stages.start import start_run
from edgenas.stages.whole_run import run_stages


def silent(label: str, done: int, total: int) -> None:
    pass


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_told(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told_run(*overrides: str, stages: tuple[str, ...] = ("profile", "search", "verify")) -> Run:
    run = start_run(load_config(Path("told.yaml"), overrides), Path("run"))
    run_stages(run, silent, stages)
    return run


def test_the_command_line_ends_with_the_front_and_says_what_an_export_would_take(tmp_path: Path) -> None:
    space = write_told(tmp_path)
    done = edgenas("run", "told.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / "told"
    assert not (folder / "supernet").exists()
    assert not (folder / "export").exists()
    assert not (folder / "data.json").exists()
    assert "no ONNX file was written" in done.stdout
    assert "train: {init: …}" in done.stdout
    assert "far-away: not measured" in done.stdout
    page = (folder / "report" / "report.md").read_text()
    assert "none was measured" in page
    assert "no ONNX file was written" in page
    assert (folder / "report" / "front.png").exists()
    summary = read_json(folder / "summary.json")
    assert summary["chosen"]["onnx"] is None
    assert summary["dataset"] == "measured"
    check_front(space, summary, tmp_path)
    refused = edgenas("export", "runs/told", cwd=tmp_path)
    assert refused.returncode == 2
    assert "no ONNX file was written" in refused.stderr
    again = edgenas("run", "told.yaml", "--json", cwd=tmp_path)
    assert json.loads(again.stdout)["front"] == summary["front"]
    status = edgenas("status", "runs/told", cwd=tmp_path)
    assert "train " not in status.stdout
    assert "nothing is trained" in status.stdout


def check_front(space: SearchSpace, summary: dict, folder: Path) -> None:
    """Latencies are the table's sums and within the budget, accuracies of measured archs as measured."""
    measured = load_accuracy_table(folder / "measured.csv", space)
    known = {arch.id: top1 for arch, top1 in zip(space.decode(measured.genes), measured.top1_percent, strict=True)}
    limit = summary["budgets"][0]["limit"]
    assert len(summary["front"]) == 6
    for entry in summary["front"]:
        arch = space.parse(entry["arch"])
        latency = entry["latency"]["far-away"]
        assert latency["p50_us"] is latency["verdict"] is latency["interval_us"] is None
        expected = sum(block_us(cost((block,)).macs) for block in space.unroll(arch, CLASSES))
        assert latency["predicted_us"] == pytest.approx(expected, rel=1e-4)
        assert latency["predicted_us"] <= limit
        low, high = entry["val_top1_interval"]
        assert low <= entry["val_top1"] <= high
        if entry["arch"] in known:
            assert entry["val_top1"] == pytest.approx(known[entry["arch"]] / 100)
            assert low == pytest.approx(high)
    accuracies = [entry["val_top1"] for entry in summary["front"]]
    assert summary["chosen"]["val_top1"] == max(accuracies)


def test_a_device_that_is_here_is_measured_beside_one_of_a_table(here: Path) -> None:
    run = told_run("devices=[{table: table}, here]", "profile.networks=12", "export.graph_variant=direct")
    front = run.result("verify")["front"]
    for entry in front:
        assert entry["latency"]["here"]["p50_us"] > 0
        assert entry["latency"]["here"]["interval_us"] is not None
        assert entry["latency"]["far-away"]["p50_us"] is None
    chosen = next(entry for entry in front if entry["arch"] == run.result("verify")["chosen"])
    assert not chosen["dropped"]
    assert len(run.result("verify")["notes"]) == 1
    assert {path.suffix for path in (run.folder / "verify" / "models").iterdir()} == {".onnx"}


def test_a_search_that_was_killed_goes_on_with_what_stands_in_its_file(here: Path) -> None:
    run = told_run(stages=("profile", "search"))
    rows = read_jsonl(run.folder / "search" / "evaluations.jsonl")
    assert len({row["arch"] for row in rows}) == len(rows) == 40
    front = run.result("search")["front"]
    run.result_path("search").unlink()
    run_stages(run, silent, ("search",))
    assert run.result("search")["front"] == front
    assert len(read_jsonl(run.folder / "search" / "evaluations.jsonl")) == len(rows)


def test_weights_of_a_supernet_that_told_nothing_are_exported(small_run: SmallRun, here: Path) -> None:
    init, data = f"train.init={small_run.folder}", "data.name=digits"
    run = told_run(
        "train={}", init, "data={}", data, "devices=[here]", "export.graph_variant=direct", stages=("profile",)
    )
    run_stages(run, silent, ("train", "search", "verify", "export", "report"))
    exported, verified = run.result("export"), run.result("verify")
    assert exported["chosen"]["arch"] == verified["chosen"]
    # The file is the supernet's subnet, whatever was told of it.
    assert 0 < exported["chosen"]["test_top1"] <= 1
    assert exported["parity"]["top1_agreement"] >= 0.995
    assert (run.folder / exported["chosen"]["onnx"]).exists()
    assert read_json(run.folder / "summary.json")["dataset"] == "digits"


def test_weights_of_other_classes_are_refused(small_run: SmallRun, here: Path) -> None:
    header = small_run.folder / "supernet" / "checkpoint.safetensors"
    other = here / "other"
    shutil.copytree(small_run.folder, other, ignore=shutil.ignore_patterns("export", "verify", "report"))
    path = other / "supernet" / "checkpoint.safetensors"
    path.write_bytes(header.read_bytes().replace(b'\\"8\\", \\"9\\"', b'\\"8\\", \\"x\\"'))
    assert path.read_bytes() != header.read_bytes()
    run = told_run("train={init: other}", "data={name: digits}", stages=())
    with pytest.raises(RunFolderError, match="was trained on 10 classes"):
        run_stages(run, silent, ("train",))


def test_the_plan_of_such_a_run_trains_nothing(here: Path) -> None:
    stages = {stage.stage: stage for stage in plan_run(load_config(Path("told.yaml")), Path("run"))}
    assert list(stages) == ["profile", "search", "verify", "report"]
    assert "no device is measured" in stages["profile"].what


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("accuracy={}", "either file .* or predictor"),
        ("accuracy={file: a.csv, predictor: b}", "either file .* or predictor"),
        ("train={epochs: 3}", "nothing is trained"),
        ("train={init: elsewhere}", "train.init wants data"),
        ("data={name: digits}", "give its weights"),
        ("devices=[{device: here, precision: int8}]", "no device can run int8"),
        ("export.precision=int8", "wants weights"),
        ("devices=[{table: table, device: here}]", "leave these out beside it"),
        ("devices=[{}]", "wanted a device, or a table"),
        ("accuracy=null", "data is missing; train is missing"),
    ],
)
def test_configs_that_contradict_themselves_are_refused(here: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(Path("told.yaml"), [override])


@pytest.mark.parametrize(
    ("override", "kind", "message"),
    [
        ("accuracy.file=nowhere.csv", DataError, "neither shipped nor a file"),
        (
            "accuracy.file=ofa-mbv3-w1.0-imagenet",
            DataError,
            r"in space 'ofa-mbv3-w1.0@.*, this one is tiny",
        ),
        ("accuracy={file: measured.csv}", ConfigError, "does not state how many classes"),
        ("accuracy.column=top1", DataError, "wanted columns top1"),
        ("devices=[{table: nowhere}]", TableError, "neither shipped nor a folder"),
        ("budgets=[10ms@p95]", ConfigError, "states no p95"),
        ("budgets=[0.001ms]", ConfigError, "cannot be met"),
        ("accuracy={predictor: measured.csv}", DataError, "no accuracy predictor of edgenas"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_searched(
    here: Path, override: str, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        told_run(override)


def test_what_stands_beside_a_file_is_believed_and_checked(here: Path) -> None:
    space = load_space("tiny-16.yaml")
    write_json(here / "measured.json", {"space": space.structure_id, "dataset": "birds", "num_classes": 10})
    source = open_source(AccuracyConfig(file="measured.csv"), space)
    assert (source.dataset, source.num_classes) == ("birds", 10)
    with pytest.raises(ConfigError, match=r"is 12, but .* is of 10 classes"):
        open_source(AccuracyConfig(file="measured.csv", num_classes=12), space)
    write_json(here / "measured.json", {"space": "other@12345678"})
    with pytest.raises(DataError, match=r"other@12345678.*use the space they were measured in"):
        open_source(AccuracyConfig(file="measured.csv", column="top1_percent", num_classes=10), space)


def test_measured_archs_are_told_as_measured_and_others_with_an_interval(tmp_path: Path) -> None:
    space = write_told(tmp_path)
    top1 = write_measured(tmp_path / "measured.csv", space)
    source = open_source(AccuracyConfig(file=str(tmp_path / "measured.csv"), num_classes=10), space)
    measured = [space.parse(text) for text in top1]
    np.testing.assert_allclose(source.top1(measured), np.array(list(top1.values())) / 100)
    interval = source.interval(measured)
    assert interval is not None
    np.testing.assert_allclose(np.ptp(interval, axis=1), 0, atol=1e-12)
    rng = np.random.default_rng(1)
    others = [arch for arch in (space.sample(rng) for _ in range(200)) if arch.id not in top1]
    intervals = source.interval(others)
    assert intervals is not None
    assert (np.ptp(intervals, axis=1) > 0).all()


def test_an_imported_predictor_tells_accuracies_without_an_interval(tmp_path: Path) -> None:
    space = load_space({"preset": "ofa-mbv3-w1.2", "resolution": [160, 224]})
    weight = np.linspace(0, 0.02, INPUTS, dtype=np.float32)[None]
    predictor = OFAAccuracy(((weight, np.zeros(1, dtype=np.float32)),), Facts(space=space.structure_id))
    predictor.save(tmp_path / "p.safetensors")
    source = open_source(AccuracyConfig(predictor=tmp_path / "p.safetensors"), space)
    archs = [space.smallest, space.largest]
    np.testing.assert_allclose(source.top1(archs), predictor.top1(archs))
    assert source.interval(archs) is None
    assert (source.num_classes, source.dataset) == (1000, "imagenet")
    for other, message in (
        ({"preset": "ofa-mbv3-w1.0", "resolution": [224]}, "use the space that it was made for"),
        ("ofa-mbv3-w1.2", "the space has 132, "),
    ):
        with pytest.raises(DataError, match=message):
            open_source(AccuracyConfig(predictor=tmp_path / "p.safetensors"), load_space(other))


def test_a_table_without_the_heads_of_these_classes_is_refused(here: Path) -> None:
    space = load_space("tiny-16.yaml")
    rows = [row for row in block_table(space).rows if not row.key.startswith("head")]
    table = block_table(space)
    type(table)(table.identity, table.circumstances, tuple(rows)).save(here / "headless")
    with pytest.raises(TableError, match=r"table headless: .*head"):
        told_run("devices=[{table: headless}]", stages=("profile",))


def test_the_run_keeps_the_table_that_it_was_started_with(here: Path) -> None:
    run = told_run(stages=("profile",))
    shutil.rmtree(here / "table")
    run_stages(open_run(run.folder), silent, ("search",))
    assert run.result("search")["evaluations"] == 40


@pytest.mark.parametrize("strategy", ["nsga2", "surrogate", "random"])
def test_a_search_finds_the_little_that_a_budget_leaves(here: Path, strategy: str) -> None:
    """Of a million random archs hardly one is within two percent of the smallest one's MACs."""
    space = load_space("mobile-32")
    write_measured(here / "measured.csv", space)
    block_table(space).save(here / "table")
    limit = 1.02 * cost(space.unroll(space.smallest, CLASSES)).macs
    run = told_run(
        "space=mobile-32",
        f"budgets=[macs={limit:.0f}]",
        f"search={{strategy: {strategy}, evaluations: 16, population: 8}}",
        stages=("profile", "search"),
    )
    found = run.result("search")
    assert found["feasibility"]["share"] < 0.001
    assert found["evaluations"] >= 4
    assert all(cost(space.unroll(space.parse(one["arch"]), CLASSES)).macs <= limit for one in found["front"])
