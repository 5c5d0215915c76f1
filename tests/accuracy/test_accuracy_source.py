"""Runs with accuracies from published tables or from a predictor."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from published_run import CLASSES, block_table, block_us, write_measured, write_published_run
from small_run import SmallRun, edgenas

from edgenas.accuracy.accuracy_table import load_accuracy_table
from edgenas.accuracy.ofa_predictor import INPUTS, OFAAccuracy, PredictorFacts
from edgenas.accuracy.source import open_source
from edgenas.budget import parse_budget
from edgenas.config.reading import load_config
from edgenas.config.sections import AccuracyConfig
from edgenas.errors import ConfigError, DataError, RunFolderError, TableError
from edgenas.files import read_json, read_jsonl, write_json
from edgenas.records.export import ExportRecord
from edgenas.records.search import SearchRecord
from edgenas.records.verify import VerifyRecord
from edgenas.runs.run import Run, open_run
from edgenas.search.strategies import surrogate
from edgenas.space.cost import cost
from edgenas.space.loading import load_space
from edgenas.space.space import SearchSpace
from edgenas.stages.plan import plan_run
from edgenas.stages.start import start_run
from edgenas.stages.whole_run import run_stages


def silent(label: str, done: int, total: int) -> None:
    pass


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_published_run(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def published_run(*overrides: str, stages: tuple[str, ...] = ("profile", "search", "verify")) -> Run:
    run = start_run(load_config(Path("published.yaml"), overrides), Path("run"))
    run_stages(run, silent, stages)
    return run


def test_the_command_line_ends_with_the_front_and_states_the_needs_of_an_export(tmp_path: Path) -> None:
    space = write_published_run(tmp_path)
    done = edgenas("run", "published.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / "published"
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
    refused = edgenas("export", "runs/published", cwd=tmp_path)
    assert refused.returncode == 2
    assert "no ONNX file was written" in refused.stderr
    again = edgenas("run", "published.yaml", "--json", cwd=tmp_path)
    assert json.loads(again.stdout)["front"] == summary["front"]
    status = edgenas("status", "runs/published", cwd=tmp_path)
    assert "train " not in status.stdout
    assert "nothing is trained" in status.stdout


def check_front(space: SearchSpace, summary: dict, folder: Path) -> None:
    """Check that latencies are sums of the table within the budget, and that measured accuracies are used."""
    measured = load_accuracy_table(folder / "measured.csv", space)
    published = {arch.id: top1 for arch, top1 in zip(space.decode(measured.genes), measured.top1_percent, strict=True)}
    limit = parse_budget(summary["budgets"][0]).limit
    assert len(summary["front"]) == 6
    for entry in summary["front"]:
        arch = space.parse(entry["arch"])
        latency = entry["latency"]["far-away"]
        assert latency["p50_us"] is latency["verdict"] is latency["interval_us"] is None
        expected = sum(block_us(cost((block,)).macs) for block in space.with_classes(CLASSES).unroll(arch))
        assert latency["predicted_us"] == pytest.approx(expected, rel=1e-4)
        assert latency["predicted_us"] <= limit
        low, high = entry["val_top1_interval"]
        assert low <= entry["val_top1"] <= high
        if entry["arch"] in published:
            assert entry["val_top1"] == pytest.approx(published[entry["arch"]] / 100)
            assert low == pytest.approx(high)
    accuracies = [entry["val_top1"] for entry in summary["front"]]
    assert summary["chosen"]["val_top1"] == max(accuracies)


def test_a_connected_device_is_measured_beside_one_with_a_table(folder: Path) -> None:
    run = published_run("devices=[{table: table}, here]", "profile.networks=12", "export.graph_variant=direct")
    front = run.result(VerifyRecord).to_json()["front"]
    for entry in front:
        assert entry["latency"]["here"]["p50_us"] > 0
        assert entry["latency"]["here"]["interval_us"] is not None
        assert entry["latency"]["far-away"]["p50_us"] is None
    chosen = next(entry for entry in front if entry["arch"] == run.result(VerifyRecord).to_json()["chosen"])
    assert not chosen["dropped"]
    assert len(run.result(VerifyRecord).notes) == 1
    assert {path.suffix for path in (run.folder / "verify" / "models").iterdir()} == {".onnx"}


def test_a_killed_search_resumes_from_its_evaluations(folder: Path) -> None:
    run = published_run(stages=("profile", "search"))
    rows = read_jsonl(run.folder / "search" / "evaluations.jsonl")
    assert len({row["arch"] for row in rows}) == len(rows) == 40
    front = run.result(SearchRecord).to_json()["front"]
    run.result_path("search").unlink()
    run_stages(run, silent, ("search",))
    assert run.result(SearchRecord).to_json()["front"] == front
    assert len(read_jsonl(run.folder / "search" / "evaluations.jsonl")) == len(rows)


def test_weights_of_a_supernet_that_was_not_scored_are_exported(small_run: SmallRun, folder: Path) -> None:
    init, data = f"train.init={small_run.folder}", "data.name=digits"
    run = published_run(
        "train={}", init, "data={}", data, "devices=[here]", "export.graph_variant=direct", stages=("profile",)
    )
    run_stages(run, silent, ("train", "search", "verify", "export", "report"))
    exported, verified = run.result(ExportRecord).to_json(), run.result(VerifyRecord).to_json()
    assert exported["chosen"]["arch"] == verified["chosen"]
    # The file has the weights of the supernet, whatever its published accuracy.
    assert 0 < exported["chosen"]["test_top1"] <= 1
    manifest = read_json(run.folder / exported["chosen"]["bundle"] / "manifest.json")
    assert manifest["parity"]["top1_agreement"] >= 0.995
    assert (run.folder / exported["chosen"]["onnx"]).exists()
    assert read_json(run.folder / "summary.json")["dataset"] == "digits"


def test_weights_of_other_classes_are_refused(small_run: SmallRun, folder: Path) -> None:
    header = small_run.folder / "supernet" / "checkpoint.safetensors"
    other = folder / "other"
    shutil.copytree(small_run.folder, other, ignore=shutil.ignore_patterns("export", "verify", "report"))
    path = other / "supernet" / "checkpoint.safetensors"
    path.write_bytes(header.read_bytes().replace(b'\\"8\\", \\"9\\"', b'\\"8\\", \\"x\\"'))
    assert path.read_bytes() != header.read_bytes()
    run = published_run("train={init: other}", "data={name: digits}", stages=())
    with pytest.raises(RunFolderError, match="was trained on 10 classes"):
        run_stages(run, silent, ("train",))


def test_the_plan_of_a_published_run_trains_nothing(folder: Path) -> None:
    stages = {stage.stage: stage for stage in plan_run(load_config(Path("published.yaml")), Path("run"))}
    assert list(stages) == ["profile", "search", "verify", "report"]
    assert "no device is measured" in stages["profile"].what


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("accuracy={}", "either file .* or predictor"),
        ("accuracy={file: a.csv, predictor: b}", "either file .* or predictor"),
        ("train={epochs: 3}", "nothing is trained"),
        ("train={init: elsewhere}", "train.init needs data"),
        ("data={name: digits}", "add weights"),
        ("devices=[{device: here, precision: int8}]", "no device can run int8"),
        ("export.precision=int8", "needs weights"),
        ("devices=[{table: table, device: here}]", "leave both out"),
        ("devices=[{}]", "expected a device, or a table"),
        ("accuracy=null", "data is missing; train is missing"),
    ],
)
def test_configs_that_contradict_themselves_are_refused(folder: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(Path("published.yaml"), [override])


@pytest.mark.parametrize(
    ("override", "kind", "message"),
    [
        ("accuracy.file=nowhere.csv", DataError, "neither shipped nor a file"),
        (
            "accuracy.file=ofa-mbv3-w1.0-imagenet",
            DataError,
            r"expected accuracies in space tiny-16@.*, got 'ofa-mbv3-w1.0@",
        ),
        ("accuracy={file: measured.csv}", ConfigError, "does not state the number of classes"),
        ("accuracy.column=top1", DataError, "expected columns top1"),
        ("devices=[{table: nowhere}]", TableError, "neither shipped nor a folder"),
        ("budgets=[10ms@p95]", ConfigError, "states no p95"),
        ("budgets=[0.001ms]", ConfigError, "cannot be met"),
        ("accuracy={predictor: measured.csv}", DataError, "no accuracy predictor of edgenas"),
    ],
)
def test_unusable_sources_and_budgets_are_refused_before_the_search(
    folder: Path, override: str, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        published_run(override)


def test_metadata_beside_a_table_is_used_and_checked(folder: Path) -> None:
    space = load_space("tiny-16.yaml")
    write_json(folder / "measured.json", {"space": space.structure_id, "dataset": "birds", "num_classes": 10})
    source = open_source(AccuracyConfig(file="measured.csv"), space)
    assert (source.dataset, source.num_classes) == ("birds", 10)
    with pytest.raises(ConfigError, match=r"is 12, but .* has 10 classes"):
        open_source(AccuracyConfig(file="measured.csv", num_classes=12), space)
    write_json(folder / "measured.json", {"space": "other@12345678"})
    with pytest.raises(DataError, match=r"other@12345678.*use the space they were measured in"):
        open_source(AccuracyConfig(file="measured.csv", column="top1_percent", num_classes=10), space)


def test_measured_archs_have_their_top1_and_others_an_interval(tmp_path: Path) -> None:
    space = write_published_run(tmp_path)
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


def test_an_imported_predictor_gives_no_interval(tmp_path: Path) -> None:
    space = load_space({"preset": "ofa-mbv3-w1.2", "resolution": [160, 224]})
    weight = np.linspace(0, 0.02, INPUTS, dtype=np.float32)[None]
    predictor = OFAAccuracy(((weight, np.zeros(1, dtype=np.float32)),), PredictorFacts(space=space.structure_id))
    predictor.save(tmp_path / "p.safetensors")
    source = open_source(AccuracyConfig(predictor=tmp_path / "p.safetensors"), space)
    archs = [space.smallest, space.largest]
    np.testing.assert_allclose(source.top1(archs), predictor.top1(archs))
    assert source.interval(archs) is None
    assert (source.num_classes, source.dataset) == (1000, "imagenet")
    for other, message in (
        ({"preset": "ofa-mbv3-w1.0", "resolution": [224]}, "use the space that it was trained for"),
        ("ofa-mbv3-w1.2", "the space also has 132, "),
    ):
        with pytest.raises(DataError, match=message):
            open_source(AccuracyConfig(predictor=tmp_path / "p.safetensors"), load_space(other))


def test_a_table_without_the_heads_of_these_classes_is_refused(folder: Path) -> None:
    space = load_space("tiny-16.yaml")
    rows = [row for row in block_table(space).rows if not row.key.startswith("head")]
    table = block_table(space)
    type(table)(table.identity, table.circumstances, tuple(rows)).save(folder / "headless")
    with pytest.raises(TableError, match=r"table headless: .*head"):
        published_run("devices=[{table: headless}]", stages=("profile",))


def test_the_run_keeps_the_table_that_it_was_started_with(folder: Path) -> None:
    run = published_run(stages=("profile",))
    shutil.rmtree(folder / "table")
    run_stages(open_run(run.folder), silent, ("search",))
    assert run.result(SearchRecord).evaluations == 40


@pytest.mark.parametrize("strategy", ["nsga2", "surrogate", "random"])
def test_a_search_finds_the_few_archs_within_a_budget(
    folder: Path, strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a million random architectures, hardly one is within two percent of the MACs of the smallest one."""
    # Nearly all proposals are rejected, so the surrogate is searched some two hundred times.
    monkeypatch.setattr(surrogate, "INNER_GENERATIONS", 6)
    space = load_space("mobile-32")
    write_measured(folder / "measured.csv", space)
    block_table(space).save(folder / "table")
    limit = 1.02 * cost(space.with_classes(CLASSES).unroll(space.smallest)).macs
    run = published_run(
        "space=mobile-32",
        f"budgets=[macs={limit:.0f}]",
        f"search={{strategy: {strategy}, evaluations: 16, population: 8}}",
        stages=("profile", "search"),
    )
    result = run.result(SearchRecord).to_json()
    assert result["feasibility"]["share"] < 0.001
    assert result["evaluations"] >= 4
    assert all(
        cost(space.with_classes(CLASSES).unroll(space.parse(entry["arch"]))).macs <= limit for entry in result["front"]
    )
