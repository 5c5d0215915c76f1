"""`edgenas export RUN` with options: other networks and other options, beside the stage's bundle, which stays."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from isas import ISAS, SATURATES, report_isa
from PIL import Image
from small_run import SmallRun
from typer.testing import CliRunner

from edgenas.cli.commands import app
from edgenas.config.reading import dump_config
from edgenas.deploy.onnx.exporter import model_metadata
from edgenas.errors import ConfigError, DataError, ParityError, RunFolderError, SpaceError, Stopped
from edgenas.latency.device import Device, DeviceRun, probe
from edgenas.profiling.measurement import Measurement
from edgenas.records.export import ExportRecord
from edgenas.records.search import SearchRecord
from edgenas.records.train import TrainRecord
from edgenas.records.verify import VerifyRecord
from edgenas.report.writing import write_report
from edgenas.runs.run import Run, open_run
from edgenas.space.graph_variant import PLAIN_VARIANT
from edgenas.stages.devices.device_graphs import device_graphs
from edgenas.stages.devices.device_latencies import read_latencies
from edgenas.stages.devices.int8_export import Comparison, needs_seven_bits, run_recipes
from edgenas.stages.export import BUNDLE, export_bundle, which_arch
from edgenas.stages.shipping.bundle_network import BundleOptions
from edgenas.stages.summary import summarise
from edgenas.stages.weights.run_accuracy import SUBNETS as STATISTICS
from edgenas.stages.whole_run import run_stages

INT8 = {"precision": "int8", "max_drop": 1.0, "calibration_images": 32, "quantisation_aware": "never"}

INT8_HERE = Device(name="int8", cpu="c", os="o", run=DeviceRun(precision="int8"))


def quiet(label: str, done: int, total: int) -> None:
    pass


def with_export(run: Run, **changes: Any) -> Run:
    """Return the run with other export settings."""
    return replace(run, config=run.config.model_copy(update={"export": run.config.export.model_copy(update=changes)}))


def files_below(folder: Path) -> dict[str, bytes]:
    """Return all files but the lock."""
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".lock")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def run(small_run: SmallRun, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("exports") / "small"
    shutil.copytree(small_run.folder, folder)
    return open_run(folder)


@pytest.fixture(scope="module")
def everything(run: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], dict[str, bytes]]:
    """A bundle with all options of an arch that was never measured, its manifest, and the run folder before."""
    before = files_below(run.folder)
    measured = {entry["arch"] for entry in run.result(VerifyRecord).to_json()["front"]}
    rng = np.random.default_rng(0)
    arch = next(arch.id for arch in (run.space.sample(rng) for _ in range(50)) if arch.id not in measured)
    options = BundleOptions("int8", dynamic_batch=True, embed_preprocessing=True)
    out = tmp_path_factory.mktemp("out") / "bundle"
    folder = export_bundle(with_export(run, **INT8), f" {arch} ", options, out, quiet)
    return folder, json.loads((folder / "manifest.json").read_text()), before


def labels(bundle: Path, model: str, images: list[Path]) -> list[str]:
    command = [sys.executable, "run.py", model, "--json", *map(str, images)]
    shown = subprocess.run(command, cwd=bundle, capture_output=True, text=True, timeout=300, check=True)
    return [row["classes"][0]["class"] for row in json.loads(shown.stdout)["images"]]


def test_a_bundle_of_every_option_says_what_is_what(everything: tuple[Path, dict[str, Any], dict[str, bytes]]) -> None:
    folder, manifest, _ = everything
    kit = {"bench.py", "run.py", "verify.py", "samples.npz", "README.md", "MODEL_CARD.md"}
    assert set(manifest["files"]) == {"model.onnx", "model_int8.onnx"} | kit
    assert {path.name for path in folder.iterdir()} == {*manifest["files"], "manifest.json"}
    assert (manifest["precision"], manifest["batch"], manifest["preprocessing_included"]) == ("fp32", "dynamic", True)
    for known, name in ((manifest, "model.onnx"), (manifest["int8"], "model_int8.onnx")):
        assert known["size_bytes"] == (folder / name).stat().st_size
        assert known["latency"]["here"]["p50_us"] > 0
        assert known["latency"]["here"]["preprocessing_included"] is True
        assert known["accuracy"]["test_images"] == sum(known["accuracy"]["test_images_by_class"]) == 360
        pairs = zip(known["accuracy"]["test_top1_by_class"], known["accuracy"]["test_images_by_class"], strict=True)
        assert sum(rate * images for rate, images in pairs) == pytest.approx(360 * known["accuracy"]["test_top1"])
        assert known["parity"]["images"] >= 32
    assert manifest["latency"]["here"]["measured_with"]["precision"] == "fp32"
    assert manifest["int8"]["latency"]["here"]["measured_with"]["precision"] == "int8"
    assert manifest["int8"]["latency"]["here"]["fp32_p50_us"] == manifest["latency"]["here"]["p50_us"]
    beside = manifest["int8"]["latency"]["here"]
    assert beside["fp32_ci_low_us"] <= beside["fp32_p50_us"] <= beside["fp32_ci_high_us"]
    assert beside["fp32_repeat_noise"] >= 0
    tried = manifest["int8"]["recipes_tried"]
    assert len(tried) == 3
    assert tried[manifest["int8"]["quantiser_recipe"]] == max(tried.values())
    assert all("fp32ends" in recipe for recipe in tried)
    assert model_metadata(folder / "model_int8.onnx")["quantiser_images"] == "32"
    (note,) = manifest["int8"]["notes"]
    assert ("worth it" in note) != manifest["int8"]["latency"]["here"]["worth_it"]
    assert note in (folder / "README.md").read_text()


def test_every_form_is_proven_by_its_own_script(everything: tuple[Path, dict[str, Any], dict[str, bytes]]) -> None:
    folder, manifest, _ = everything
    words = [sys.executable, "verify.py", "--json", "--digest", manifest["digest"]]
    shown = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert (shown.returncode, shown.stderr) == (0, "")
    checks = json.loads(shown.stdout)["checks"]
    assert {"model.onnx, run", "model_int8.onnx, run"} < {check["check"] for check in checks}


def test_a_manifest_says_how_the_network_was_found_and_on_which_images(
    run: Run, everything: tuple[Path, dict[str, Any], dict[str, bytes]]
) -> None:
    _, manifest, _ = everything
    counts = json.loads((run.folder / "data.json").read_text())["counts"]
    assert {name: split["images"] for name, split in manifest["splits"].items()} == counts
    assert len({split["sha256"] for split in manifest["splits"].values()}) == 3
    searched = run.result(SearchRecord).to_json()
    assert manifest["found"]["evaluations"] == searched["evaluations"]
    assert manifest["found"]["train_seconds"] == run.result(TrainRecord).train_seconds
    assert len(manifest["found"]["budgets"]) == len(searched["budgets"])


def test_any_network_as_it_was_profiled_states_what_is_predicted(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    measured = {entry["arch"] for entry in run.result(VerifyRecord).to_json()["front"]}
    arch = next(arch for arch in (run.space.sample(rng) for _ in range(50)) if arch.id not in measured)
    (predictor,) = read_latencies(run).predictors.values()
    for options, stated in ((BundleOptions(), True), (BundleOptions(dynamic_batch=True), False)):
        folder = export_bundle(run, arch.id, options, tmp_path / str(options), quiet)
        known = json.loads((folder / "manifest.json").read_text())["latency"]["here"]
        assert known["p50_us"] > 0
        assert ("predicted_us" in known) == stated
        if stated:
            assert known["predicted_us"] == pytest.approx(predictor.predict([arch])[0])
            low, high = known["interval_us"]
            assert low < known["predicted_us"] < high
            assert known["coverage"] == run.config.profile.coverage
            assert f"{known['predicted_us'] / 1e3:.3f}" in (folder / "MODEL_CARD.md").read_text()


def test_zip_and_page_are_made_of_the_runs_own_bundle(run: Run, tmp_path: Path) -> None:
    before = files_below(run.folder)
    page = tmp_path / "page"
    shown = CliRunner().invoke(app, ["export", str(run.folder), "--zip", "--web", str(page), "--json", "--quiet"])
    assert shown.stderr == ""
    found = json.loads(shown.stdout)
    assert shown.exit_code == 0, shown.output
    zipped = Path(found["zip"])
    assert zipped == run.folder / "export" / "bundle.zip"
    described = json.loads((page / "model.json").read_text())
    assert described["classes"] == found["classes"]
    assert (page / "model.onnx").read_bytes() == (run.folder / BUNDLE / "model.onnx").read_bytes()
    words = [sys.executable, str(run.folder / BUNDLE / "verify.py"), str(zipped)]
    assert subprocess.run(words, capture_output=True, timeout=300, check=False).returncode == 0
    zipped.unlink()
    assert files_below(run.folder) == before
    (tmp_path / "taken.txt").write_text("mine")
    shown = CliRunner().invoke(app, ["export", str(run.folder), "--zip", "--web", str(tmp_path)])
    assert isinstance(shown.exception, RunFolderError)
    assert files_below(run.folder) == before


def test_an_interrupted_export_reports_that_nothing_was_written(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any) -> None:
        raise Stopped

    monkeypatch.setattr("edgenas.stages.shipping.bundling.run_subnets", stopped)
    shown = CliRunner().invoke(app, ["export", str(run.folder), "--out", str(tmp_path / "bundle")])
    assert shown.exit_code == 130
    assert "stopped; nothing was written; the same command starts this bundle from scratch" in shown.stderr
    assert "is kept" not in shown.stderr
    assert not list(tmp_path.iterdir())


def test_fewer_images_than_parity_asks_for_are_reported(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    there = json.loads((run.folder / "data.json").read_text())["counts"]["validation"]
    export_bundle(with_export(run, parity_images=10_000), "chosen", BundleOptions(), tmp_path / "bundle", quiet)
    assert f"export.parity_images is 10000, but there are only {there} validation images" in caplog.text
    assert json.loads((tmp_path / "bundle" / "manifest.json").read_text())["parity"]["images"] == there


def test_the_run_stays_as_it_was(run: Run, everything: tuple[Path, dict[str, Any], dict[str, bytes]]) -> None:
    found, before = files_below(run.folder), everything[2].copy()
    # Sessions are appended as they are measured.
    assert found.pop("sessions.jsonl").startswith(before.pop("sessions.jsonl"))
    assert {name: found[name] for name in before} == before
    # What recalibrated another network is kept, for the next time that it is asked for.
    assert all(name.startswith(f"{STATISTICS}/") for name in found.keys() - before)


def test_a_bundle_labels_raw_images_as_it_says(
    run: Run, everything: tuple[Path, dict[str, Any], dict[str, bytes]], tmp_path: Path
) -> None:
    """From image files on: preprocessing inside and outside, fp32 and int8."""
    folder, manifest, _ = everything
    plain = export_bundle(run, manifest["arch"], BundleOptions(), tmp_path / "plain", quiet)
    test = run.images.dataset.test
    images = [tmp_path / f"{number}.png" for number in range(len(test))]
    for image, path in zip(test.tensor(), images, strict=True):
        Image.fromarray(image[0].numpy(), "L").save(path)
    truth = [manifest["classes"][label] for label in test.labels.tolist()]
    shown = labels(folder, "model.onnx", images)
    assert shown == labels(plain, "model.onnx", images)
    # One of them may lie on the fence between two classes.
    for top1, given in (
        (manifest["accuracy"]["test_top1"], shown),
        (manifest["int8"]["accuracy"]["test_top1"], labels(folder, "model_int8.onnx", images)),
    ):
        right = sum(a == b for a, b in zip(given, truth, strict=True))
        assert right == pytest.approx(top1 * len(truth), abs=1.01)
    other = json.loads((plain / "manifest.json").read_text())
    assert (other["batch"], other["int8"], other["preprocessing_included"]) == (1, {}, False)
    assert other["latency"]["here"]["preprocessing_included"] is False


def test_int8_that_costs_too_much_writes_no_bundle(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    strict = with_export(run, **INT8 | {"max_drop": 0.0})
    size = run.space.parse(run.result(VerifyRecord).to_json()["chosen"]).resolution
    # Ranges that no image has been through: everything saturates.
    black = np.zeros((32, 3, size, size), np.float32)
    monkeypatch.setattr("edgenas.stages.devices.int8_export.device_inputs", lambda *_, **__: black)
    with pytest.raises(ParityError, match="points below fp32's"):
        export_bundle(strict, "chosen", BundleOptions("int8"), tmp_path / "bundle", quiet)
    assert not list(tmp_path.iterdir())


def test_more_calibration_split_than_there_are_is_an_error_before_anything_is_exported(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    greedy = with_export(run, **INT8 | {"calibration_images": 10**6})
    monkeypatch.setattr("edgenas.stages.shipping.bundling.run_subnets", None)
    train = json.loads((run.folder / "data.json").read_text())["counts"]["train"]
    with pytest.raises(DataError, match=f"calibration_images is 1000000, but there are only {train} training"):
        export_bundle(greedy, "chosen", BundleOptions("int8"), tmp_path / "bundle", quiet)
    assert not list(tmp_path.iterdir())


def test_the_stage_with_int8_keeps_both_files_and_the_summary_says_so(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    shutil.copytree(run.folder, folder, ignore=shutil.ignore_patterns("export", "report", "summary.json", ".lock*"))
    again = with_export(open_run(folder), **INT8)
    (folder / "config.yaml").write_text(dump_config(again.config))
    run_stages(again, quiet, ["export"])
    summarise(again).write(folder / "summary.json")
    summary = json.loads((folder / "summary.json").read_text())
    before = run.result(ExportRecord).to_json()["chosen"]
    timed = {"latency", "verdict"}
    assert {k: v for k, v in summary["chosen"].items() if k not in timed} == {
        k: v for k, v in before.items() if k not in timed
    }
    assert (folder / BUNDLE / "model.onnx").read_bytes() == (run.folder / before["onnx"]).read_bytes()
    assert summary["int8"]["onnx"] == f"{BUNDLE}/model_int8.onnx"
    assert (folder / summary["int8"]["onnx"]).stat().st_size == summary["int8"]["size_bytes"]
    assert summary["int8"]["notes"]
    text = write_report(folder).read_text().partition("## int8 compared with fp32")[2]
    int8 = summary["int8"]
    for value in (int8["val_top1"], int8["test_top1"], *int8["recipes_tried"].values()):
        assert f"{100 * value:.1f} %" in text
    assert f"- {int8['notes'][0]}." in text
    assert "The allowed drop of validation top-1 is 100.0 points" in text


def test_the_first_best_is_the_chosen_and_the_others_follow_in_order(run: Run) -> None:
    verified = run.result(VerifyRecord).to_json()
    candidates = [entry for entry in verified["front"] if entry["arch"] in verified["candidates"]]
    kept = [entry for entry in candidates if entry["eligible"]] or candidates
    assert which_arch(run, "chosen").id == run.result(ExportRecord).to_json()["chosen"]["arch"]
    with pytest.raises(ConfigError, match="best:1 to best:") as raised:
        which_arch(run, "best:999")
    last = int(str(raised.value).rpartition(":")[2])
    archs = [which_arch(run, f"best:{k}").id for k in range(1, last + 1)]
    scores = {entry["arch"]: entry["val_top1"] for entry in kept}
    assert [scores[arch] for arch in archs] == sorted((scores[arch] for arch in archs), reverse=True)
    assert len(set(archs)) == last == len(kept)
    with pytest.raises(ConfigError):
        which_arch(run, "best:0")


def test_a_network_that_is_no_candidate_is_not_among_the_best(run: Run) -> None:
    verified = run.result(VerifyRecord)
    best = {"val_top1": 1.0, "deployed_top1": 1.0, "dropped": False, "eligible": False}
    better = verified.front[0].model_copy(update={"arch": run.space.largest, **best})
    front = (better, *(network for network in verified.front if network.arch != better.arch))
    shown = SimulatedRun(run, verified.model_copy(update={"front": front}))
    assert which_arch(shown, "best:1") == which_arch(run, "best:1")


class SimulatedRun(Run):
    """A run whose verification found something else."""

    def __init__(self, run: Run, verified: VerifyRecord) -> None:
        super().__init__(run.folder, run.config, run.space)
        object.__setattr__(self, "verified", verified)

    def result(self, kind: type[Any]) -> Any:
        return self.verified  # type: ignore[attr-defined]


def test_an_arch_outside_the_space_names_the_gene_and_its_values(run: Run) -> None:
    text = run.space.smallest.id.replace("k3", "k7")
    with pytest.raises(SpaceError, match=r"stage0\.block0\.kernel is 7, the space has 3"):
        which_arch(run, text)
    with pytest.raises(SpaceError, match="expected a text like"):
        which_arch(run, "best")


def test_folders_with_anything_else_and_the_runs_own_bundle_are_refused_first(run: Run, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    for out in (tmp_path, run.folder, run.folder / "export"):
        with pytest.raises(RunFolderError, match="do not belong to a bundle"):
            export_bundle(run, "chosen", BundleOptions(), out, quiet)
    for out in (run.folder / BUNDLE, run.folder / BUNDLE / "inner"):
        with pytest.raises(RunFolderError, match="choose another --out"):
            export_bundle(run, "chosen", BundleOptions(), out, quiet)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_the_command_names_the_bundle_after_arch_and_form_and_replaces_it(run: Run) -> None:
    folder = run.folder / "export" / f"{run.chosen.id}-fp32"
    for command in (["--arch", "chosen"], ["--precision", "fp32", "--json"]):
        shown = CliRunner().invoke(app, ["export", str(run.folder), *command])
        found = json.loads((folder / "manifest.json").read_text())
        assert shown.exit_code == 0, shown.output
    assert json.loads(shown.stdout) == {"bundle": str(folder), **found}
    before = json.loads((run.folder / BUNDLE / "manifest.json").read_text())
    same = ("arch", "accuracy", "parity", "int8", "samples", "splits")
    assert {key: found[key] for key in same} == {key: before[key] for key in same}
    # The same files, timed again in other processes.
    assert found["files"]["model.onnx"] == before["files"]["model.onnx"]
    latency, earlier = found["latency"]["here"], before["latency"]["here"]
    assert latency["sessions"] > earlier["sessions"]
    assert latency["limit_us"] == earlier["limit_us"]
    shutil.rmtree(folder)


@pytest.mark.parametrize("option", [["--arch", "chosen"], ["--embed-preprocessing"], ["--batch", "1"]])
def test_options_go_with_a_run_folder_alone(small_run: SmallRun, run: Run, option: list[str]) -> None:
    for target in ([str(small_run.cwd / "small.yaml")], [str(run.folder), "--budget", "1ms"]):
        shown = CliRunner().invoke(app, ["export", *target, *option])
        assert isinstance(shown.exception, RunFolderError) or shown.exit_code == 2


def measurement(p50_us: float, noise: float) -> Measurement:
    return Measurement(
        p50_us, p50_us, p50_us, 1.0, p50_us, p50_us, 10, (p50_us,), noise, (), (p50_us,), (p50_us,), 10.0, 0
    )


@pytest.mark.parametrize(
    ("int8_us", "noise", "worth", "message"),
    [
        (50.0, 0.02, True, "int8 is 2.00 times as fast on pi4: 0.050 ms against 0.100 ms in fp32"),
        (99.0, 0.02, False, "not worth it on pi4: 0.099 ms against 0.100 ms in fp32, timed side by side, no faster by"),
        (120.0, 0.0, False, "not worth it on pi4: 0.120 ms"),
        (100.0, 0.0, False, "not worth it on pi4"),
    ],
)
def test_int8_is_worth_it_where_it_is_faster_by_more_than_noise(
    int8_us: float, noise: float, worth: bool, message: str
) -> None:
    one = Comparison("pi4", measurement(100.0, 0.0), measurement(int8_us, noise))
    assert one.worth_it is worth
    assert message in str(one)


@pytest.mark.parametrize("isa", ISAS)
def test_weights_have_seven_bits_where_one_of_the_devices_saturates(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arm = Device(name="d", cpu="c", os="o", isa=("neon", "asimd"))
    report_isa(monkeypatch, isa)
    for devices in ([probe()], [arm, probe()]):
        assert needs_seven_bits(devices) is (isa in SATURATES)
        recipes = run_recipes(devices)
        assert {recipe.seven_bit_weights for recipe in recipes} == {isa in SATURATES}
        assert {recipe.latency_id for recipe in recipes} == {
            device_graphs(INT8_HERE, devices, PLAIN_VARIANT).quantiser_recipe
        }
    assert not needs_seven_bits([arm])


def test_a_model_lost_since_it_was_measured_is_named_with_what_to_do(run: Run, tmp_path: Path) -> None:
    lost = shutil.copytree(run.folder, tmp_path / "lost")
    for model in (lost / "verify" / "models").iterdir():
        model.unlink()
    (lost / "export" / "result.json").unlink()
    with pytest.raises(RunFolderError, match=r"\.onnx is missing: delete .*verify.result\.json"):
        run_stages(open_run(lost), quiet, ["export"])
