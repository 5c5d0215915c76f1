"""Devices that run int8: what is timed, chosen and handed over for them is int8's. Measurements are synthetic."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from fake_local import fake_local
from hypothesis import given
from hypothesis import strategies as st
from isas import report_isa
from small_run import SmallRun
from typer.testing import CliRunner

from edgenas.cli.commands import app
from edgenas.config.reading import dump_config, parse_config
from edgenas.deploy.int8.quantiser_recipe import parse_recipe
from edgenas.deploy.onnx.exporter import model_metadata
from edgenas.errors import ConfigError, InfeasibleError, RunFolderError, TableError
from edgenas.files import read_json, read_jsonl, read_yaml, write_json
from edgenas.latency.table import LatencyTable
from edgenas.profiling.measurement import PROCESSES
from edgenas.profiling.transport import Job
from edgenas.profiling.transports.local import KIND as LOCAL
from edgenas.records.paths import GRAPH_VARIANT
from edgenas.records.verify import VerifyRecord
from edgenas.report.writing import write_report
from edgenas.runs.devices import resolve_devices, write_devices
from edgenas.runs.run import Run, open_run
from edgenas.stages.budgets.limits import run_limits
from edgenas.stages.devices.fastest_variant import choose_variant
from edgenas.stages.export import which_arch
from edgenas.stages.front import front_int8
from edgenas.stages.front.front_int8 import deployed_top1
from edgenas.stages.summary import summarise
from edgenas.stages.whole_run import run_stages
from edgenas.testing import FakeTransport, graph_latency_us

INT8 = {"device": "here", "precision": "int8"}
RECIPE = "qdq-u8s8-pc-fp32ends-v1"


def quiet(label: str, done: int, total: int) -> None:
    pass


def run_on(small_run: SmallRun, folder: Path, *devices: Any, **export: Any) -> Run:
    """A run of the small run's supernet for other devices."""
    others = ("latency", "search", "verify", "export", "report", "devices", "summary.json", ".lock*", "sessions.jsonl")
    shutil.copytree(small_run.folder, folder, ignore=shutil.ignore_patterns(*others))
    value = read_yaml(folder / "config.yaml") | {"devices": list(devices)}
    value["export"] |= {"max_drop": 1.0, "calibration_images": 16, **export}
    # Every block is quantised for int8 devices: as few as a predictor can be fitted on.
    value["profile"] |= {"blocks": 20, "networks": 10}
    value["verify"]["networks"] = 4
    (folder / "config.yaml").write_text(dump_config(parse_config(value, "config")))
    run = open_run(folder)
    write_devices(run.folder, resolve_devices(run.config.devices))
    return run


def whole(run: Run) -> Run:
    run_stages(run, quiet, ("profile", "search", "verify", "export"))
    summarise(run).write(run.folder / "summary.json")
    write_report(run.folder)
    return run


@pytest.fixture(scope="module", autouse=True)
def vnni() -> Iterator[None]:
    """This machine's kernels do not saturate, whatever its CPU: the recipe is that of 8-bit weights."""
    with pytest.MonkeyPatch.context() as patch:
        report_isa(patch, "vnni")
        yield


class Recorder:
    """A synthetic device in place of this machine that describes the models it is given."""

    def __init__(self) -> None:
        self.device = FakeTransport(self._latency_us, instead_of=LOCAL)
        self.models: list[tuple[str, str]] = []

    def _latency_us(self, model: Path, job: Job) -> float:
        metadata = model_metadata(model)
        recipe = metadata.get("quantiser_recipe")
        kind = metadata["arch"].split()[0] if "for_timing" in metadata else "deployed"
        self.models.append((kind, parse_recipe(recipe).latency_id if recipe else "none"))
        return graph_latency_us(model, job)

    def count(self) -> Counter[tuple[str, str, str]]:
        """Precision, kind (block, network or deployed) and recipe of the models that were timed."""
        precisions = [run.precision for run, job in self.device.timed for _ in job.models]
        return Counter((precision, *model) for precision, model in zip(precisions, self.models, strict=True))


@pytest.fixture(scope="module")
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(scope="module")
def both(small_run: SmallRun, recorder: Recorder, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A whole run for one machine in both precisions."""
    with fake_local(recorder.device):
        return whole(run_on(small_run, tmp_path_factory.mktemp("int8") / "both", "here", INT8))


@pytest.fixture
def copy(both: Run, tmp_path: Path) -> Run:
    shutil.copytree(both.folder, tmp_path / "copy", ignore=shutil.ignore_patterns(".lock*"))
    return open_run(tmp_path / "copy")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# ---------------------------------------------------------------- configs


def test_a_device_in_another_precision_is_called_after_it_and_stays_the_machine() -> None:
    config = {"name": "x", "space": "mobile-32", "data": {"name": "digits"}, "train": {"epochs": 1}}
    named = {**INT8, "name": "fast"}
    read = parse_config({**config, "devices": ["here", INT8, named, {"device": "here", "name": "it"}]}, "x")
    here, int8, fast, it = resolve_devices(read.devices)
    assert [device.name for device in (here, int8, fast, it)] == ["here", "here-int8", "fast", "it"]
    assert [device.run.precision for device in (here, int8, fast, it)] == ["fp32", "int8", "int8", "fp32"]
    assert int8.model_dump(exclude={"name", "run"}) == here.model_dump(exclude={"name", "run"})
    assert read.model_dump(mode="json")["devices"] == ["here", INT8, named, {"device": "here", "name": "it"}]
    with pytest.raises(ConfigError, match="two of here, here are called 'here-int8'"):
        resolve_devices(
            parse_config({**config, "devices": [INT8, {"device": "here", "name": "here-int8"}]}, "x").devices
        )


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ({"device": "here", "precision": "int4"}, r"devices\.0\.precision: 'int4' is unknown; .*valid: fp32, int8"),
        ({"device": "here", "precison": "int8"}, r"unknown key 'devices\.0\.precison'"),
        ({"precision": "int8"}, r"devices\.0: expected a device, or a table$"),
        (3, r"devices\.0: expected a device, or one like \{device: here, precision: int8\}, got 3"),
        ({**INT8, "name": "../up"}, r"devices\.0\.name"),
    ],
)
def test_invalid_devices_are_named_with_their_position(device: Any, message: str) -> None:
    config = {"name": "x", "space": "mobile-32", "data": {"name": "digits"}, "train": {"epochs": 1}}
    with pytest.raises(ConfigError, match=message):
        parse_config({**config, "devices": [device]}, "x")


# ---------------------------------------------------------------- what is timed


def test_int8_devices_time_int8_files_of_one_recipe_and_fp32_devices_none(both: Run, recorder: Recorder) -> None:
    asked = recorder.count()
    for kind in ("block", "network"):
        assert asked["int8", kind, RECIPE] == asked["fp32", kind, "none"] > 0
        assert asked["int8", kind, "none"] == asked["fp32", kind, RECIPE] == 0
    # In the bundle both files are timed side by side on every device, one repetition a process.
    assert asked["fp32", "deployed", RECIPE] == asked["int8", "deployed", "none"] == PROCESSES
    # No session compares graph variants of int8 files, so a session is added before the exported file is judged.
    assert asked["int8", "deployed", RECIPE] == asked["fp32", "deployed", "none"] + PROCESSES > 2 * PROCESSES


def test_tables_say_in_what_they_were_measured(both: Run) -> None:
    fp32, int8 = (LatencyTable.load(both.folder / "latency" / name) for name in ("here", "here-int8"))
    assert (fp32.identity.precision, fp32.identity.quantiser_recipe) == ("fp32", "none")
    assert (int8.identity.precision, int8.identity.quantiser_recipe, int8.identity.graph_variant) == (
        "int8",
        RECIPE,
        "direct",
    )
    assert int8.identity.setting.endswith("-cpu-int8-t1")
    assert [row.name for row in int8.rows] == [row.name for row in fp32.rows]
    pairs = [pair for pair in zip(int8.rows, fp32.rows, strict=True) if pair[0].kind == "network"]
    assert all(one.p50_us < other.p50_us for one, other in pairs)
    shown = CliRunner().invoke(app, ["tables", "show", str(both.folder / "latency" / "here-int8"), "--json"])
    found = json.loads(shown.output)
    assert found["identity"] == asdict(int8.identity)
    assert [row["p50_us"] for row in found["rows"]] == [row.p50_us for row in int8.rows]
    assert RECIPE in CliRunner().invoke(app, ["tables", "show", str(both.folder / "latency" / "here-int8")]).output


def test_the_front_is_measured_in_the_files_that_each_device_runs(both: Run) -> None:
    models = {path.name: path for path in (both.folder / "verify" / "models").iterdir()}
    by_precision = {
        name: {sha256(path) for file, path in models.items() if file.endswith("_int8.onnx") == in_int8}
        for name, in_int8 in (("here", False), ("here-int8", True))
    }
    for name, wanted in by_precision.items():
        rows = read_jsonl(both.folder / "verify" / f"{name}.jsonl")
        assert {row["name"][1] for row in rows} == wanted
        assert {row["identity"]["quantiser_recipe"] for row in rows} == {RECIPE if name == "here-int8" else "none"}
    for entry in both.result(VerifyRecord).to_json()["front"]:
        metadata = model_metadata(both.folder / entry["int8"]["model"])
        assert (metadata["arch"], metadata["precision"], metadata["graph_variant"]) == (entry["arch"], "int8", "direct")
        assert metadata["quantiser_recipe"] == entry["int8"]["quantiser_recipe"]
        assert parse_recipe(metadata["quantiser_recipe"]).latency_id == RECIPE
        assert metadata["source_sha256"] in by_precision["here"]


def test_a_run_of_int8_devices_only_compares_graph_variants_in_fp32(small_run: SmallRun, tmp_path: Path) -> None:
    recorder = Recorder()
    with fake_local(recorder.device):
        run = run_on(small_run, tmp_path / "run", INT8)
        variant = choose_variant(run, quiet)
    assert variant == read_json(run.folder / GRAPH_VARIANT)["graph_variant"]
    assert {(precision, recipe) for precision, _, recipe in recorder.count()} == {("fp32", "none")}


@pytest.mark.parametrize(
    ("device", "field", "value"),
    [
        ("here-int8", "precision", "fp32"),
        ("here-int8", "quantiser_recipe", "none"),
        ("here-int8", "quantiser_recipe", "qdq-u8s8-pc-fp32ends-w7-v1"),
        ("here-int8", "graph_variant", "blocked"),
        ("here", "precision", "int8"),
        ("here", "quantiser_recipe", RECIPE),
    ],
)
def test_tables_of_another_precision_or_recipe_are_refused(copy: Run, device: str, field: str, value: str) -> None:
    path = copy.folder / "latency" / device / "meta.json"
    meta = read_json(path)
    meta["identity"][field] = value
    write_json(path, meta)
    message = f"latency table of {device} is of another setting .*{field}: expected .*, got {value}"
    with pytest.raises(TableError, match=message):
        run_limits(copy)


# ---------------------------------------------------------------- what is chosen


TOP1 = st.floats(0, 1)


@given(TOP1, TOP1)
def test_a_networks_accuracy_is_that_of_what_is_deployed(fp32: float, int8: float) -> None:
    assert deployed_top1(fp32, None, {"fp32"}) == deployed_top1(fp32, int8, {"fp32"}) == fp32
    assert deployed_top1(fp32, int8, {"int8"}) == int8
    assert deployed_top1(fp32, int8, {"fp32", "int8"}) == sorted([fp32, int8])[0]


def test_networks_are_reported_and_ranked_by_what_is_deployed(both: Run) -> None:
    verified, summary = both.result(VerifyRecord).to_json(), read_json(both.folder / "summary.json")
    for entry in verified["front"]:
        assert entry["deployed_top1"] == min(entry["val_top1"], entry["val_top1_int8"])
        assert entry["val_top1_int8"] == max(entry["int8"]["recipes_tried"].values())
    (chosen,) = [entry for entry in verified["front"] if entry["arch"] == verified["chosen"]]
    kept = [entry for entry in verified["front"] if not entry["dropped"]]
    assert chosen["deployed_top1"] == max(entry["deployed_top1"] for entry in kept)
    assert verified["val_top1"] == chosen["deployed_top1"]
    # An image or two may be on the edge between two classes.
    assert summary["chosen"]["val_top1"] == pytest.approx(chosen["deployed_top1"], abs=0.006)
    tops = {key: summary["int8"][key] for key in ("test_top1", "fp32_test_top1")}
    assert summary["chosen"]["test_top1"] == min(tops.values())
    assert summary["int8"]["fp32_val_top1"] == pytest.approx(chosen["val_top1"], abs=0.006)
    assert f"{100 * chosen['deployed_top1']:.1f}" in (both.folder / "report" / "report.md").read_text()


def reverified(run: Run) -> dict[str, Any]:
    run.result_path("verify").unlink()
    run_stages(run, quiet, ["verify"])
    return run.result(VerifyRecord).to_json()


def rescored(run: Run, scores: Callable[[int], float]) -> None:
    """Give networks of the front other accuracies in int8."""
    path = run.folder / front_int8.ROWS
    rows = read_jsonl(path)
    for number, row in enumerate(rows):
        row["recipes_tried"][row["quantiser_recipe"]] = scores(number)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_networks_that_lose_too_much_in_int8_are_dropped_with_that_reason(copy: Run) -> None:
    limit = {"export": copy.config.export.model_copy(update={"max_drop": 0.02})}
    run = Run(copy.folder, copy.config.model_copy(update=limit), copy.space)
    fp32 = [row["fp32_top1"] for row in read_jsonl(run.folder / front_int8.ROWS)]
    assert len(fp32) > 1
    # The most accurate one comes last.
    rescored(run, lambda number: fp32[number] - (0.05 if number == len(fp32) - 1 else 0.01))
    verified = reverified(run)
    lost = verified["front"][-1]
    assert lost["dropped_because"].startswith("int8 loses 5.00 points of validation top-1")
    assert verified["chosen"] != lost["arch"]
    others = [entry for entry in verified["front"] if entry["deployed_top1"] == pytest.approx(entry["val_top1"] - 0.01)]
    assert verified["chosen"] in {entry["arch"] for entry in others}
    rescored(run, lambda number: 0.0)
    with pytest.raises(InfeasibleError, match=r"int8 loses .* a greater export\.max_drop"):
        reverified(run)


# ---------------------------------------------------------------- what is handed over


def test_the_bundle_holds_the_measured_int8_file_with_its_judged_latency(both: Run) -> None:
    (entry,) = [
        e
        for e in both.result(VerifyRecord).to_json()["front"]
        if e["arch"] == both.result(VerifyRecord).to_json()["chosen"]
    ]
    bundle = both.folder / "export" / "bundle"
    manifest = read_json(bundle / "manifest.json")
    assert sha256(bundle / "model_int8.onnx") == sha256(both.folder / entry["int8"]["model"])
    assert sha256(bundle / "model.onnx") == sha256(both.folder / both.result(VerifyRecord).model)
    assert manifest["deployed"] == {"here": "model.onnx", "here-int8": "model_int8.onnx"}
    assert "the file for here-int8: `model_int8.onnx`" in (bundle / "README.md").read_text()
    assert list(manifest["latency"]) == list(manifest["int8"]["latency"]) == ["here", "here-int8"]
    int8, fp32 = manifest["int8"]["latency"], manifest["latency"]
    judged = entry["latency"]
    assert judged["here"].items() <= fp32["here"].items()
    assert judged["here-int8"].items() <= int8["here-int8"].items()
    for found, precision, recipe in ((fp32, "fp32", "none"), (int8, "int8", RECIPE)):
        for latency in found.values():
            assert latency["measured_with"]["precision"] == precision
            assert latency["measured_with"]["quantiser_recipe"] == recipe
    assert manifest["int8"]["accuracy"]["validation_top1"] == entry["val_top1_int8"]
    assert manifest["int8"]["recipes_tried"] == entry["int8"]["recipes_tried"]
    assert which_arch(both, "best:1").id == entry["arch"]


def test_an_int8_file_lost_since_it_was_measured_is_named(copy: Run) -> None:
    for path in (copy.folder / "verify" / "models").glob("*_int8.onnx"):
        path.unlink()
    copy.result_path("export").unlink()
    with pytest.raises(RunFolderError, match=r"_int8\.onnx is missing: delete .*verify.result\.json"):
        run_stages(copy, quiet, ["export"])


# ---------------------------------------------------------------- resuming


def test_networks_quantised_before_a_kill_are_not_quantised_again(copy: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    before = copy.result(VerifyRecord).to_json()
    shutil.rmtree(copy.folder / "verify")
    done: list[Path] = []
    quantised = front_int8.quantised

    def counted(*arguments: Any, **named: Any) -> Any:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(arguments[2])
        return quantised(*arguments, **named)

    monkeypatch.setattr(front_int8, "quantised", counted)
    with pytest.raises(KeyboardInterrupt):
        run_stages(copy, quiet, ["verify"])
    assert not copy.done("verify")
    # One of the two files is lost, and a row is torn.
    (copy.folder / "verify" / "models" / "001_int8.onnx").unlink()
    with open(copy.folder / front_int8.ROWS, "a") as stream:
        stream.write('{"model": "verify/mod')
    done.clear()
    monkeypatch.setattr(front_int8, "quantised", lambda *a, **n: (done.append(a[2]), quantised(*a, **n))[1])
    run_stages(copy, quiet, ["verify"])
    assert [path.name for path in done] == [f"{n:03d}.onnx" for n in range(1, len(before["front"]))]
    assert copy.result(VerifyRecord).to_json() == before


def test_a_row_that_is_none_of_ours_is_named(copy: Run) -> None:
    with open(copy.folder / front_int8.ROWS, "a") as stream:
        stream.write('{"model": "../outside.onnx"}\n')
    with pytest.raises(RunFolderError, match=r"int8\.jsonl, row \d+: .*delete that line"):
        reverified(copy)


def test_devices_are_kept_as_they_are_run(both: Run) -> None:
    assert {name: device.run.precision for name, device in both.devices.all.items()} == {
        "here": "fp32",
        "here-int8": "int8",
    }
