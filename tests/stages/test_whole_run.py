"""A whole run, from its config to the bundle: what it leaves behind keeps its promises."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from small_run import SmallRun, edgenas
from spaces import SMALL

from edgenas import load_space
from edgenas.budget import parse_budget
from edgenas.config.reading import load_config
from edgenas.files import read_jsonl, write_json
from edgenas.latency.predictor import Archs, Floats, LatencyPredictor
from edgenas.records.search import SearchRecord
from edgenas.records.verify import VerifyRecord
from edgenas.runs.run import open_run
from edgenas.runs.stage_order import STAGES
from edgenas.stages.budgets.limits import default_limit_us
from edgenas.stages.whole_run import run_stages
from edgenas.training.data.dataset import load_dataset
from edgenas.training.data.preprocess import Preprocess


def test_summary_keeps_the_contract(small_run: SmallRun) -> None:
    summary = small_run.summary
    assert set(summary) >= {"space", "dataset", "budgets", "supernet", "predictors", "search", "front", "chosen"}
    described = {"augmentation", "class_weights"}
    assert set(summary["supernet"]) == {"params", "train_seconds", "images_per_second", *described}
    wanted = {"mape", "within_5", "within_10", "kendall_tau", "n_fit", "n_test", "repeat_noise"}
    assert set(summary["predictors"]["here"]) >= wanted
    assert set(summary["search"]) >= {"strategy", "evaluations", "seconds", "hypervolume", "reference_point"}
    for entry in summary["front"]:
        assert set(entry) >= {"arch", "val_top1", "dropped", "latency"}
        latency = {"predicted_us", "interval_us", "coverage", "p50_us", "p95_us", "verdict"}
        assert set(entry["latency"]["here"]) >= latency
    by_class = {"test_macro_top1", "test_class_top1"}
    assert set(summary["chosen"]) == {
        "arch",
        "val_top1",
        "test_top1",
        "latency",
        "verdict",
        "onnx",
        "bundle",
        *by_class,
    }


def test_the_chosen_network_was_measured_within_the_budget(small_run: SmallRun) -> None:
    summary = small_run.summary
    chosen = summary["chosen"]
    entry = next(entry for entry in summary["front"] if entry["arch"] == chosen["arch"])
    assert not entry["dropped"]
    # An image or two may be on the edge between two classes.
    assert chosen["val_top1"] == pytest.approx(entry["val_top1"], abs=0.006)
    latency = chosen["latency"]["here"]
    assert [latency["limit_us"]] == [parse_budget(text).limit for text in summary["budgets"]]
    assert latency["p50_us"] <= latency["limit_us"]
    assert (latency["upper_us"] <= latency["limit_us"]) == (chosen["verdict"] == "within")
    # Candidates within the budget are tried first, and from the most accurate on.
    verified = open_run(small_run.folder).result(VerifyRecord).to_json()
    entries = {entry["arch"]: entry for entry in summary["front"]}
    ranked = [(entries[arch]["eligible"], entries[arch]["val_top1"]) for arch in verified["candidates"]]
    assert ranked == sorted(ranked, reverse=True)


def test_the_default_budget_leaves_out_the_slowest_third_of_the_space() -> None:
    class Predictor(LatencyPredictor):
        """Of latencies that grow with every gene, the first weighing most."""

        def predict(self, archs: Archs) -> Floats:
            genes = archs if isinstance(archs, np.ndarray) else self.space.encode(archs)
            return 5.0 + genes @ np.geomspace(8, 1, genes.shape[1])

    predictor = Predictor(SMALL)
    predictor.calibrated_ = False
    limit = default_limit_us(SMALL, predictor, seed=0)
    rng = np.random.default_rng(99)
    others = predictor.predict([SMALL.sample(rng) for _ in range(2000)])
    assert 0.6 < np.mean(others <= limit) < 2 / 3
    assert predictor.predict([SMALL.smallest])[0] < limit < predictor.predict([SMALL.largest])[0]


def test_the_undropped_front_is_non_dominated(small_run: SmallRun) -> None:
    kept = [e for e in small_run.summary["front"] if not e["dropped"]]
    points = {e["arch"]: (1 - e["val_top1"], e["latency"]["here"]["p50_us"]) for e in kept}
    # Networks that are not significantly within the budget dominate none.
    eligible = [points[e["arch"]] for e in kept if e["eligible"]]
    for a in points.values():
        assert not any(b != a and b[0] <= a[0] and b[1] <= a[1] for b in eligible)


def test_no_arch_is_scored_twice_and_all_are_of_the_space(small_run: SmallRun) -> None:
    rows = read_jsonl(small_run.folder / "search" / "evaluations.jsonl")
    space = load_space(small_run.folder / "space.yaml")
    assert len({space.parse(row["arch"]) for row in rows}) == len(rows)
    # Where the machine slowed down, it was searched more than once; the summary has the last search.
    more = len(rows) - small_run.summary["search"]["evaluations"]
    assert more == 0 or (more > 0 and open_run(small_run.folder).result(VerifyRecord).refits > 0)


def test_same_seed_same_front(small_run: SmallRun, tmp_path: Path) -> None:
    """Searching again from the same weights and the same measurements, of the front's too, finds the same front."""
    again = tmp_path / "again"
    shutil.copytree(small_run.folder, again, ignore=shutil.ignore_patterns("search", "export", "report"))
    run = open_run(again)
    run_stages(run, lambda label, done, total: None, ["search"])
    before = json.loads((small_run.folder / "search" / "result.json").read_text())
    assert run.result(SearchRecord).to_json()["front"] == before["front"]
    assert list(run.result(SearchRecord).hypervolume_by_batch) == before["hypervolume_by_batch"]


def test_an_interrupted_search_ends_with_the_undisturbed_front(small_run: SmallRun, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(small_run.folder, again, ignore=shutil.ignore_patterns("export", "report"))
    (again / "search" / "result.json").unlink()
    evaluations = again / "search" / "evaluations.jsonl"
    lines = evaluations.read_bytes().splitlines(keepends=True)
    half = len(lines) // 2
    evaluations.write_bytes(b"".join(lines[:half]) + lines[half][:20])
    run = open_run(again)
    run_stages(run, lambda label, done, total: None, ["search"])
    before = json.loads((small_run.folder / "search" / "result.json").read_text())
    assert run.result(SearchRecord).to_json()["front"] == before["front"]


def test_the_bundle_labels_a_raw_image_as_the_exported_file_does(small_run: SmallRun, tmp_path: Path) -> None:
    bundle = small_run.folder / small_run.summary["chosen"]["bundle"]
    manifest = json.loads((bundle / "manifest.json").read_text())
    config = load_config(small_run.cwd / "small.yaml", [f"space={small_run.folder / 'space.yaml'}"])
    image = load_dataset(config.data, config.seed).test.images[3]
    Image.fromarray(image[0].numpy(), "L").save(tmp_path / "image.png")
    command = [sys.executable, "run.py", "model.onnx", str(tmp_path / "image.png")]
    shown = subprocess.run(command, cwd=bundle, capture_output=True, text=True, timeout=60, check=True)
    session = onnxruntime.InferenceSession(bundle / "model.onnx", providers=["CPUExecutionProvider"])
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in manifest["preprocess"].items()}
    pixels = Preprocess(**values)(image[None]).contiguous(memory_format=torch.contiguous_format).numpy()
    label = manifest["classes"][int(np.argmax(session.run(None, {session.get_inputs()[0].name: pixels})[0]))]
    assert shown.stdout.split(": ")[1].split(" ")[0] == label


def test_a_finished_run_is_not_done_again(small_run: SmallRun) -> None:
    results = ["latency/result.json", "supernet/result.json", "search/result.json", "verify/result.json"]
    before = [(small_run.folder / name).stat().st_mtime_ns for name in results]
    done = edgenas("run", "small.yaml", "--json", cwd=small_run.cwd)
    assert done.returncode == 0, done.stderr
    assert [(small_run.folder / name).stat().st_mtime_ns for name in results] == before
    assert json.loads(done.stdout) == small_run.summary


def test_another_config_is_refused_and_named(small_run: SmallRun) -> None:
    done = edgenas("run", "small.yaml", "--set", "search.population=9", cwd=small_run.cwd)
    assert done.returncode == 2
    assert "search.population was 8, is 9" in done.stderr
    assert done.stdout == ""


def test_status_knows_what_is_done(small_run: SmallRun) -> None:
    done = edgenas("status", "runs/small", "--json", cwd=small_run.cwd)
    assert json.loads(done.stdout)["stages"] == dict.fromkeys(STAGES, True)


def test_output_is_plain_when_piped(small_run: SmallRun) -> None:
    assert "\x1b" not in small_run.stdout + small_run.stderr
    assert small_run.summary["chosen"]["onnx"] in small_run.stdout
    assert small_run.summary["chosen"]["arch"] in small_run.stdout


def test_the_report_shows_every_network(small_run: SmallRun) -> None:
    text = (small_run.folder / "report" / "report.md").read_text()
    assert all(entry["arch"] in text for entry in small_run.summary["front"])
    images = [word.split(")")[0] for word in text.split("](")[1:] if ".png" in word]
    assert images
    assert all((small_run.folder / "report" / image).stat().st_size > 1000 for image in images)


def test_a_budget_below_the_fastest_subnet_is_refused_with_the_range(small_run: SmallRun, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(small_run.folder, again, ignore=shutil.ignore_patterns("search", "verify", "export", "report"))
    config = (again / "config.yaml").read_text().replace("budgets: []", "budgets: [0.001ms]")
    (again / "config.yaml").write_text(config)
    done = edgenas("search", str(again), cwd=small_run.cwd)
    assert done.returncode == 2
    assert "cannot be met: the space reaches from" in done.stderr


def test_other_scores_than_in_the_search_stop_the_verification(small_run: SmallRun, tmp_path: Path) -> None:
    """The network that is measured must be the network that was scored."""
    again = tmp_path / "again"
    shutil.copytree(small_run.folder, again, ignore=shutil.ignore_patterns("verify", "export", "report"))
    result = json.loads((again / "search" / "result.json").read_text())
    for entry in result["front"]:
        entry["val_top1"] -= 0.01
    write_json(again / "search" / "result.json", result)
    done = edgenas("verify", str(again), cwd=small_run.cwd)
    assert done.returncode == 1
    assert "scored" in done.stderr
    assert not (again / "verify" / "result.json").exists()


def test_an_impossible_budget_is_refused_before_training(small_run: SmallRun, tmp_path: Path) -> None:
    again = tmp_path / "again"
    later = ("supernet", "search", "verify", "export", "report")
    shutil.copytree(small_run.folder, again, ignore=shutil.ignore_patterns(*later))
    config = (again / "config.yaml").read_text().replace("budgets: []", "budgets: [0.001ms]")
    (again / "config.yaml").write_text(config)
    done = edgenas("train", str(again), cwd=small_run.cwd)
    assert done.returncode == 2
    assert "cannot be met" in done.stderr
    assert not (again / "supernet").exists()


def test_repeating_a_stage_invalidates_later_ones(small_run: SmallRun, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(small_run.folder, again)
    (again / "search" / "result.json").unlink()
    run = open_run(again)
    assert run.done("export")
    run_stages(run, lambda label, done, total: None, ["search"])
    assert [stage for stage in STAGES if run.done(stage)] == ["profile", "train", "search"]


def test_scores_of_other_weights_do_not_count(small_run: SmallRun, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(small_run.folder, again)
    (again / "search" / "result.json").unlink()
    evaluations = again / "search" / "evaluations.jsonl"
    rows = read_jsonl(evaluations)
    evaluations.write_text("".join(json.dumps({**row, "weights": "others", "error": 0.5}) + "\n" for row in rows))
    run_stages(open_run(again), lambda label, done, total: None, ["search"])
    new_rows = read_jsonl(evaluations)[len(rows) :]
    before, after = ({row["arch"]: row["error"] for row in some} for some in (rows, new_rows))
    assert after
    assert after.keys() <= before.keys()
    assert after == {arch: before[arch] for arch in after}


def test_a_damaged_result_is_named(small_run: SmallRun, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(small_run.folder, again)
    write_json(again / "verify" / "result.json", {})
    done = edgenas("report", str(again), cwd=small_run.cwd)
    assert done.returncode == 2
    assert "front is missing" in done.stderr
