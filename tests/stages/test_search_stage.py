"""The search stage: every strategy, stopped and resumed, extended, begun from another run's front."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from copied_run import copied_run, found, silent
from forked import Forked
from killing import kill_when, start
from small_run import SmallRun, edgenas

from edgenas.accuracy.supernet_accuracy import SupernetAccuracy
from edgenas.budget import parse_budget
from edgenas.errors import ConfigError, EdgenasError, RunFolderError
from edgenas.files import read_json, read_jsonl
from edgenas.records.search import SearchRecord
from edgenas.runs.run import open_run
from edgenas.search.front import non_dominated
from edgenas.search.strategies.by_name import STRATEGIES
from edgenas.stages.devices.device_latencies import read_latencies
from edgenas.stages.start import check_folder, extend_search, start_run
from edgenas.stages.whole_run import run_stages

EVALUATIONS = "search/evaluations.jsonl"


def rows_of(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_leaves_a_front_within_the_budgets(small_run: SmallRun, tmp_path: Path, strategy: str) -> None:
    if strategy == "bayesian":
        pytest.importorskip("optuna")
    run = copied_run(small_run, tmp_path / "run", strategy=strategy, population=None, evaluations=20)
    run_stages(run, silent, ["search"])
    result = run.result(SearchRecord).to_json()
    assert (result["strategy"], result["evaluations"], result["asked"]) == (strategy, 20, 20)
    points = np.array([list(entry["objectives"].values()) for entry in result["front"]])
    assert len(non_dominated(points)) == len(points)
    assert [1 - entry["val_top1"] for entry in result["front"]] == pytest.approx(points[:, 0].tolist())
    limit = parse_budget(result["budgets"][0]).limit
    assert all(entry["objectives"]["latency_us@here"] < limit for entry in result["front"])


def test_a_surrogate_keeps_what_it_foresaw(small_run: SmallRun, tmp_path: Path) -> None:
    run = copied_run(small_run, tmp_path / "run", strategy="surrogate", population=5, evaluations=25)
    run_stages(run, silent, ["search"])
    rows, result = read_jsonl(run.folder / "search" / "rounds.jsonl"), run.result(SearchRecord).to_json()
    assert [row["evaluations"] for row in rows] == [10, 15, 20]
    by_batch = dict(zip(result["evaluations_by_batch"], result["hypervolume_by_batch"], strict=True))
    assert [row["hypervolume"] for row in rows] == [by_batch[row["evaluations"]] for row in rows]
    for row in rows:
        # Latency is computed, not modelled.
        assert list(row["models"]) == ["error"]
        left_out, batch = row["models"]["error"]["left_out"], row["models"]["error"]["next_batch"]
        assert (left_out["rows"], batch["rows"]) == (row["evaluations"], 5)
        assert set(batch) == {"rows", "rmse", "kendall_tau", "coverage_90"}


@pytest.mark.parametrize(
    ("strategy", "kills_at"), [("surrogate", (13,)), pytest.param("nsga2", (3, 12, 17), marks=pytest.mark.slow)]
)
def test_killed_while_it_scores_a_search_ends_as_undisturbed(
    small_run: SmallRun, tmp_path: Path, strategy: str, kills_at: tuple[int, ...]
) -> None:
    search = {"strategy": strategy, "population": 5, "evaluations": 26}
    undisturbed = copied_run(small_run, tmp_path / "undisturbed", **search)
    victim = copied_run(small_run, tmp_path / "victim", **search)
    log, path = tmp_path / "log", victim.folder / EVALUATIONS

    def resume() -> Forked:
        return start("search", str(victim.folder), cwd=tmp_path, log=log)

    for rows in kills_at:
        assert kill_when(resume(), lambda rows=rows: rows_of(path) >= rows)
    assert resume().wait(timeout=400) == 0, log.read_text()
    run_stages(undisturbed, silent, ["search"])
    assert found(victim.folder) == found(undisturbed.folder)
    # Nothing is scored twice but what was being scored when the kill came.
    assert rows_of(path) <= 26 + len(kills_at)
    scored = [{row["arch"] for row in read_jsonl(run.folder / EVALUATIONS)} for run in (victim, undisturbed)]
    assert scored[0] == scored[1]


@pytest.mark.parametrize("strategy", ["nsga2", "surrogate"])
def test_an_extended_search_ends_as_one_that_was_as_long_from_the_start(
    small_run: SmallRun, tmp_path: Path, strategy: str
) -> None:
    search = {"strategy": strategy, "population": 4}
    short = copied_run(small_run, tmp_path / "short", **search, evaluations=13)
    long = copied_run(small_run, tmp_path / "long", **search, evaluations=22)
    run_stages(short, silent, ["search"])
    before = (short.folder / EVALUATIONS).read_bytes()
    longer = extend_search(short, 22)
    assert not longer.done("search")
    for run in (longer, long):
        run_stages(run, silent, ["search"])
    assert open_run(short.folder).config == longer.config == long.config
    assert found(short.folder) == found(long.folder)
    assert (short.folder / EVALUATIONS).read_bytes().startswith(before)


def test_more_evaluations_are_asked_for_on_the_command_line(
    small_run: SmallRun, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = copied_run(small_run, tmp_path / "run")
    done = edgenas("search", str(run.folder), "--evaluations", "26", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["search"]["evaluations"] == 26
    assert extend_search(open_run(run.folder), 24).done("search")
    assert "search.evaluations stays at 26, since 24 are fewer" in caplog.text
    refused = edgenas("search", str(run.folder), "--initial", str(run.folder), cwd=tmp_path)
    assert refused.returncode == 2
    assert "with a fixed config" in refused.stderr


def test_a_run_folder_resumes_like_its_config(small_run: SmallRun, tmp_path: Path) -> None:
    run = copied_run(small_run, tmp_path / "run")
    done = edgenas("run", str(run.folder), "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["search"]["evaluations"] == open_run(run.folder).config.search.evaluations
    assert open_run(run.folder).done("report")
    refused = edgenas("run", str(run.folder), "--set", "seed=3", cwd=tmp_path)
    assert refused.returncode == 2
    assert "with a fixed config" in refused.stderr


def test_a_config_may_differ_in_the_number_of_evaluations_alone(small_run: SmallRun, tmp_path: Path) -> None:
    run = copied_run(small_run, tmp_path / "run")

    def asked(**search: Any) -> Any:
        return run.config.model_copy(update={"search": run.config.search.model_copy(update=search)})

    assert check_folder(asked(evaluations=90), run.folder) is not None
    # A look changes nothing; a start does.
    assert open_run(run.folder).config == run.config
    assert start_run(asked(evaluations=90), run.folder).config == open_run(run.folder).config == asked(evaluations=90)
    with pytest.raises(RunFolderError, match=r"search.population was 8, is 9"):
        start_run(asked(evaluations=90, population=9), run.folder)


def test_a_search_begins_with_the_front_of_another_run(small_run: SmallRun, tmp_path: Path) -> None:
    other = [entry["arch"] for entry in read_json(small_run.folder / "search" / "result.json")["front"]]
    run = copied_run(small_run, tmp_path / "run", initial=str(small_run.folder), strategy="surrogate", population=4)
    run_stages(run, silent, ["search"])
    scored = [row["arch"] for row in read_jsonl(run.folder / EVALUATIONS)]
    assert scored[: len(other)] == other
    # Once begun, it keeps its initial architectures, whatever became of the other run.
    kept = read_json(run.folder / "search" / "initial.json")
    assert kept["archs"] == other
    gone = copied_run(small_run, tmp_path / "gone", initial=str(tmp_path / "nowhere"))
    with pytest.raises(RunFolderError, match="nowhere is no run folder"):
        run_stages(gone, silent, ["search"])


def test_a_front_of_another_space_is_refused_at_the_start(small_run: SmallRun, tmp_path: Path) -> None:
    from edgenas.space.loading import load_space
    from edgenas.stages.front.warm_start import check_initial

    with pytest.raises(RunFolderError, match=r"none of the .* networks of its front is in the space mobile-32"):
        check_initial(small_run.folder, load_space("mobile-32"))


def test_all_objectives_are_traded_and_reported(small_run: SmallRun, tmp_path: Path) -> None:
    objectives = ["weight_bytes", "worst_class_error", "balanced_error", "p95", "peak_activation_bytes", "macs"]
    run = copied_run(
        small_run, tmp_path / "run", objectives=objectives, strategy="surrogate", population=6, evaluations=12
    )
    run_stages(run, silent, ["search"])
    result, rows = (
        run.result(SearchRecord).to_json(),
        {row["arch"]: row for row in read_jsonl(run.folder / EVALUATIONS)},
    )
    names = ["worst_class_error", "balanced_error", "weight_bytes", "p95_us@here", "peak_activation_bytes", "macs"]
    assert [each["name"] for each in result["objectives"]] == names
    assert [each["unit"] for each in result["objectives"]] == ["fraction", "fraction", "bytes", "us", "bytes", "macs"]
    # Both are sums of at most a term a block, which processors add in orders of their own.
    rounding = len(read_latencies(run).tables["here"].rows) * np.finfo(float).eps
    for entry in result["front"]:
        row, values = rows[entry["arch"]], entry["objectives"]
        assert list(values) == names
        assert (
            values["worst_class_error"]
            == row["worst_class_error"]
            >= row["error"]
            == pytest.approx(1 - entry["val_top1"])
        )
        assert values["balanced_error"] == row["balanced_error"] <= row["worst_class_error"]
        assert values["p95_us@here"] >= row["latency_us"]["here"] * (1 - rounding)


@pytest.mark.slow
def test_several_processes_find_what_one_finds(small_run: SmallRun, tmp_path: Path) -> None:
    serial, parallel = (copied_run(small_run, tmp_path / str(n), workers=n, evaluations=16) for n in (1, 2))
    for run in (serial, parallel):
        run_stages(run, silent, ["search"])
    assert found(serial.folder) == found(parallel.folder)
    kept = [
        [{k: v for k, v in row.items() if k != "seconds"} for row in read_jsonl(r.folder / EVALUATIONS)]
        for r in (serial, parallel)
    ]
    assert kept[0] == kept[1]


def test_evaluations_of_other_weights_or_images_are_reported(
    small_run: SmallRun, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = copied_run(small_run, tmp_path / "run", evaluations=10)
    run_stages(run, silent, ["search"])
    before = found(run.folder)
    rows = read_jsonl(run.folder / EVALUATIONS)
    changed = [
        {**rows[0], "weights": "others", "error": 0.5},
        {**rows[1], "validation_images": 7, "error": 0.5},
        *rows[2:],
    ]
    (run.folder / EVALUATIONS).write_text("".join(json.dumps(row) + "\n" for row in changed))
    run.result_path("search").unlink()
    run_stages(run, silent, ["search"])
    assert "2 of 10 evaluations are of other weights" in caplog.text
    assert found(run.folder) == before


def failing(monkeypatch: pytest.MonkeyPatch, every: int) -> list[str]:
    """Scoring raises on every so manyth arch; their names."""
    score, failed, asked = SupernetAccuracy.score, [], []

    def raising(self: Any, arch: Any) -> Any:
        if arch.id in failed or len(asked) % every == every - 1:
            failed.append(arch.id)
            asked.append(arch.id)
            raise RuntimeError("the accelerator fell off")
        asked.append(arch.id)
        return score(self, arch)

    monkeypatch.setattr(SupernetAccuracy, "score", raising)
    return failed


def test_networks_that_cannot_be_scored_are_named_and_the_rest_kept(
    small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failed = failing(monkeypatch, every=9)
    run = copied_run(small_run, tmp_path / "run", evaluations=16)
    run_stages(run, silent, ["search"])
    result = run.result(SearchRecord).to_json()
    assert {failure["arch"] for failure in result["failures"]} == set(failed) != set()
    assert result["evaluations"] + len(result["failures"]) == 16
    assert all(failure["cause"] == "RuntimeError: the accelerator fell off" for failure in result["failures"])
    assert f"not scored: {result['failures'][0]['arch']}: RuntimeError" in caplog.text


def test_where_nothing_can_be_scored_the_search_stops_with_the_first(
    small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = failing(monkeypatch, every=1)
    run = copied_run(small_run, tmp_path / "run")
    with pytest.raises(EdgenasError, match=r"candidates failed .* the accelerator fell off") as raised:
        run_stages(run, silent, ["search"])
    assert failed[0] in str(raised.value)
    assert not run.done("search")


def test_a_small_space_is_searched_to_its_end_and_says_so(small_run: SmallRun, tmp_path: Path) -> None:
    run = copied_run(small_run, tmp_path / "run", evaluations=10_000, validation_images=16, calibration_images=16)
    run_stages(run, silent, ["search"])
    result = run.result(SearchRecord).to_json()
    assert result["exhausted"]
    assert result["evaluations"] == run.space.size == len(read_jsonl(run.folder / EVALUATIONS))


def test_optuna_is_asked_for_before_anything_costs_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from small_run import SMALL_CONFIG, SMALL_SPACE

    from edgenas.config.reading import load_config

    monkeypatch.setitem(sys.modules, "optuna", None)
    (tmp_path / "tiny-16.yaml").write_text(SMALL_SPACE)
    (tmp_path / "small.yaml").write_text(SMALL_CONFIG)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"pip install 'edgenas\[bayes\]'"):
        start_run(load_config(Path("small.yaml"), ["search.strategy=bayesian"]), Path("run"))
    assert not Path("run").exists()
