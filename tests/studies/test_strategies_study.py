"""`edgenas study strategies`: search strategies compared on a run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from damaging import call
from published_run import write_published_run
from small_run import SmallRun

from edgenas.config.reading import load_config
from edgenas.errors import ConfigError
from edgenas.files import read_jsonl
from edgenas.records.strategies import StrategiesRecord
from edgenas.runs.run import open_run
from edgenas.stages.start import start_run
from edgenas.stages.whole_run import run_stages
from edgenas.studies import strategies as module
from edgenas.studies.strategies import StrategySettings, run_strategies

PNG = b"\x89PNG"


def silent(label: str, done: int, total: int) -> None:
    pass


def test_the_command_compares_strategies_on_accuracies_from_a_file(tmp_path: Path) -> None:
    write_published_run(tmp_path)
    command = (
        "study",
        "strategies",
        "published.yaml",
        "--strategies",
        "nsga2, random",
        "--seeds",
        "2",
        "--evaluations",
        "30",
    )
    done = call(*command, cwd=tmp_path)
    assert done.code == 0, done.stderr
    assert "nsga2" in done.stdout
    assert "at 30" in done.stdout
    folder = tmp_path / "runs" / "published" / "study/strategies"
    assert (folder / "strategies.png").read_bytes().startswith(PNG)
    rows = read_jsonl(folder / "trials.jsonl")
    trials = [("nsga2", 0), ("random", 0), ("nsga2", 1), ("random", 1)]
    assert [(row["strategy"], row["seed"]) for row in rows] == trials
    # Saved trials are reused; another strategy is added to them.
    more = call(*command[:4], "nsga2,grid", *command[5:], "--json", cwd=tmp_path)
    assert more.code == 0, more.stderr
    found = json.loads(more.stdout)
    assert list(found["strategies"]) == ["nsga2", "grid"]
    assert found["objectives"] == ["error", "latency_us@far-away"]
    assert read_jsonl(folder / "trials.jsonl")[:4] == rows
    assert len(read_jsonl(folder / "trials.jsonl")) == 6
    # The run's own search is not touched.
    assert not (tmp_path / "runs" / "published" / "search").exists()


def test_strategies_on_a_supernet_score_no_network_twice(small_run: SmallRun, tmp_path: Path) -> None:
    shutil.copytree(small_run.folder, tmp_path / "run")
    run = open_run(tmp_path / "run")
    before = read_jsonl(run.folder / "search" / "evaluations.jsonl")
    found = run_strategies(run, StrategySettings(("random", "nsga2"), 1, 12), silent)
    after = read_jsonl(run.folder / "search" / "evaluations.jsonl")
    assert after[: len(before)] == before
    assert len({row["arch"] for row in after}) == len(after)
    seconds = {row["arch"]: row["seconds"] for row in after}
    # A trial's seconds cover all its evaluations, though some scores were saved before.
    assert found.strategies["nsga2"].seconds.median > found.evaluations * min(seconds.values())
    shutil.rmtree(run.folder / "study/strategies")
    again = run_strategies(run, StrategySettings(("random", "nsga2"), 1, 12), silent)
    assert read_jsonl(run.folder / "search" / "evaluations.jsonl") == after
    for name, strategy in found.strategies.items():
        assert again.strategies[name].at == strategy.at


def test_a_stopped_comparison_resumes_with_the_next_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_published_run(tmp_path)
    monkeypatch.chdir(tmp_path)
    run = start_run(load_config(Path("published.yaml")), Path("run"))
    run_stages(run, silent, ("profile",))
    whole, calls = module._trial, []

    def stopping(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return whole(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_trial", stopping)
    with pytest.raises(KeyboardInterrupt):
        run_strategies(run, StrategySettings(("random",), 4, 20), silent)
    path = run.folder / "study/strategies" / "trials.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    found = run_strategies(run, StrategySettings(("random",), 4, 20), silent)
    # One trial's row is torn and one is missing: these and the last are run.
    assert len(calls) == 3 + 3
    assert found.strategies["random"].seeds == (0, 1, 2, 3)
    assert StrategiesRecord.read(path.with_name("strategies.json"), "run it again") == found


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--strategies", "nsga3"), "strategy 'nsga3' is unknown; did you mean 'nsga2'"),
        (("--strategies", "random,random"), "expected each name once, got random"),
        (("--strategies", ","), "expected each name once, got none"),
        (("--seeds", "0"), "--seeds: expected at least 1"),
        (("--evaluations", "1"), "--evaluations: expected at least 2"),
        (("--evaluations", "0"), "--evaluations: expected at least 2"),
    ],
)
def test_invalid_settings_are_refused(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    write_published_run(tmp_path)
    done = call("study", "strategies", "published.yaml", *options, cwd=tmp_path)
    assert done.code == 2
    assert message in done.stderr


def test_settings_are_checked_first() -> None:
    with pytest.raises(ConfigError, match="expected each name once"):
        StrategySettings((), 1, 10).check()
