"""The file that ships is timed again, in processes that chose nothing, and only `within` counts as met."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from small_run import SmallRun
from typer.testing import CliRunner

from edgenas.budget import Budget
from edgenas.cli.commands import app
from edgenas.config.reading import dump_config
from edgenas.config.sections import FinetuneConfig
from edgenas.deploy.onnx.parity import Parity
from edgenas.errors import InfeasibleError, ParityError
from edgenas.files import read_json, write_json
from edgenas.latency.device import Device
from edgenas.profiling.measurement import Measurement
from edgenas.profiling.verdict import LEAST_SESSIONS, judge_measured
from edgenas.quantities import LATENCY, P95
from edgenas.records.export import ExportRecord
from edgenas.records.finetune import FinetuneRecord
from edgenas.records.record import Verdict
from edgenas.records.search import SearchRecord
from edgenas.records.verify import VerifyRecord
from edgenas.runs.measuring_sessions import MeasuringSessions
from edgenas.runs.run import Run, open_run
from edgenas.stages.devices import measuring
from edgenas.stages.devices.judged_latency import decisive
from edgenas.stages.export import BUNDLE
from edgenas.stages.shipping import bundling, shipping
from edgenas.stages.shipping.bundle_network import Network
from edgenas.stages.shipping.shipping import first_to_ship
from edgenas.stages.weights.tuned_network import tuned_subnet
from edgenas.stages.whole_run import run_stages

Processes = Callable[[int, float], tuple[float, ...]]
"""Eight p50s in microseconds, given the number of the session and the limit."""
STEADY_US = 1000.0
EARLIER = 2
"""Sessions before the export's, beside the one that measured the table: graph variants, and the front."""


def silent(*_: object) -> None:
    """No progress."""


def within(_: int, limit_us: float) -> tuple[float, ...]:
    return (0.9 * limit_us,) * 8


def not_significant(_: int, limit_us: float) -> tuple[float, ...]:
    return (*(0.9 * limit_us,) * 6, *(1.1 * limit_us,) * 2)


def over(_: int, limit_us: float) -> tuple[float, ...]:
    return (10 * limit_us,) * 8


@pytest.fixture
def run(small_run: SmallRun, tmp_path: Path) -> Run:
    """The small run, verified: its whole front are candidates, and the slowest session is this one."""
    folder = shutil.copytree(
        small_run.folder, tmp_path / "run", ignore=shutil.ignore_patterns("export", "sessions.jsonl")
    )
    result = read_json(folder / "verify" / "result.json")
    candidates = [entry["arch"] for entry in reversed(result["front"])]
    assert len(candidates) > 1
    write_json(folder / "verify" / "result.json", result | {"candidates": candidates, "chosen": candidates[0]})
    run = open_run(folder)
    for number in range(EARLIER):
        MeasuringSessions(run.folder).keep("here", f"earlier {number}", {"": measurement((1.0,) * 8, 0)})
    return run


@pytest.fixture
def timer(run: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[list[str]]]:
    """Stand in for the timer; returns the names of the files of each session."""
    (budget,) = run.result(SearchRecord).budgets
    limit_us = budget.limit

    def stand_in(processes: Processes, *, flagged: Callable[[int], int] = lambda _: 0) -> list[list[str]]:
        asked: list[list[str]] = []

        def measure(networks: Mapping[str, Path], device: Device, *, out: Path, **_: Any) -> dict[str, Measurement]:
            values = processes(len(asked), limit_us)
            asked.append(list(networks))
            out.parent.mkdir(parents=True, exist_ok=True)
            with out.open("a") as rows:
                rows.write("{}\n")
            return dict.fromkeys(networks, measurement(values, flagged(len(asked) - 1)))

        monkeypatch.setattr(measuring, "measure_networks", measure)
        monkeypatch.setattr(measuring, "discount", silent)
        monkeypatch.setattr("edgenas.runs.measuring_sessions.discount", silent)
        return asked

    return stand_in


def measurement(values: tuple[float, ...], flagged: int) -> Measurement:
    p50_us = float(np.median(values))
    warnings = (f"{flagged} of 8 processes: it was noisy",) if flagged > 2 else ()
    return Measurement(
        p50_us, p50_us, p50_us, 1.0, values[1], values[6], 80, values, 0.0, warnings, values, values, STEADY_US, flagged
    )


def test_the_shipped_file_is_timed_in_a_session_of_its_own(run: Run, timer: Callable[..., list[list[str]]]) -> None:
    asked = timer(within)
    run_stages(run, silent, ["export"])
    assert asked == [["fp32"]]
    exported, manifest = run.result(ExportRecord).to_json(), read_json(run.folder / BUNDLE / "manifest.json")
    limit = run.result(SearchRecord).budgets[0].limit
    chosen = exported["chosen"]
    assert chosen["arch"] == run.chosen.id == run.result(VerifyRecord).to_json()["candidates"][0]
    latency = chosen["latency"]["here"]
    assert latency["p50_us"] == latency["upper_us"] == pytest.approx(0.9 * limit)
    assert (latency["verdict"], latency["limit_us"], latency["limited"]) == ("within", limit, "p50")
    assert chosen["verdict"] == manifest["verdict"] == "within"
    assert {key: manifest["latency"]["here"][key] for key in latency} == latency
    assert [attempt["arch"] for attempt in exported["attempts"]] == [chosen["arch"]]
    assert len(MeasuringSessions(run.folder).of("here")) == EARLIER + 1
    assert latency["sessions"] == LEAST_SESSIONS


def test_fewer_than_four_sessions_are_completed_before_a_file_is_judged(
    run: Run, timer: Callable[..., list[list[str]]]
) -> None:
    """A run whose graph variant is named has no session that compares variants, and a re-judged file counts it, too."""
    (run.folder / "sessions.jsonl").unlink()
    asked = timer(within)
    run_stages(run, silent, ["export"])
    # The session that measured the table is the first.
    assert asked == [["session 1"], ["session 2"], ["fp32"]]
    assert run.result(ExportRecord).to_json()["chosen"]["latency"]["here"]["sessions"] == LEAST_SESSIONS
    assert len(MeasuringSessions(run.folder).counted("here")) == LEAST_SESSIONS - 1


def test_where_the_first_file_is_over_its_budget_the_next_candidate_ships(
    run: Run, timer: Callable[..., list[list[str]]]
) -> None:
    """It ships with its own fine-tuned weights, and everything that asks for the chosen network gets it."""
    settings = FinetuneConfig(epochs=1, learning_rate_share=1.0)
    run = dataclasses.replace(run, config=run.config.model_copy(update={"finetune": settings}))
    asked = timer(lambda session, limit: over(session, limit) if session == 0 else within(session, limit))
    first, second = run.result(VerifyRecord).to_json()["candidates"][:2]
    run_stages(run, silent, ["finetune"])
    assert run.result(FinetuneRecord).to_json()["arch"] == first
    run_stages(run, silent, ["export"])
    assert len(asked) == 2
    exported = run.result(ExportRecord).to_json()
    assert [(attempt["arch"], attempt["verdict"]) for attempt in exported["attempts"]] == [
        (first, "over"),
        (second, "within"),
    ]
    assert exported["chosen"]["arch"] == run.result(FinetuneRecord).to_json()["arch"] == run.chosen.id == second
    assert exported["notes"] == [f"{first} was tried as well: when its file was timed again, it was over its budget"]
    assert read_json(run.folder / BUNDLE / "manifest.json")["arch"] == second
    assert tuned_subnet(run, run.chosen) is not None


def test_where_no_tuned_candidate_ships_the_measured_ones_of_verify_are_tried(
    run: Run, timer: Callable[..., list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tuned candidates are ranked without int8, and perhaps without being measured."""
    measured, rng = run.result(VerifyRecord).candidates, np.random.default_rng(0)
    other = next(arch for _ in range(99) if (arch := run.space.sample(rng)) not in measured)
    order = [SimpleNamespace(arch=arch) for arch in (other, *measured[:0:-1])]
    monkeypatch.setattr(shipping, "halving_record", lambda _: SimpleNamespace(order=order))
    asked = timer(lambda session, limit: over(session, limit) if session == 0 else within(session, limit))
    run_stages(attempts(run, 1), silent, ["export"])
    assert len(asked) == 2
    exported = run.result(ExportRecord)
    assert [(attempt.arch, attempt.verdict) for attempt in exported.attempts] == [
        (other, "over"),
        (measured[0], "within"),
    ]
    assert exported.chosen.arch == measured[0]


def test_where_all_are_over_nothing_ships(run: Run, timer: Callable[..., list[list[str]]]) -> None:
    """A run whose file takes ten times its budget ends with exit code 1 and without a bundle."""
    asked = timer(over)
    with pytest.raises(InfeasibleError, match="the files of all 2 networks that were tried are over a budget"):
        run_stages(attempts(run, 2), silent, ["export"])
    assert len(asked) == 2
    assert not run.done("export")
    assert not (run.folder / BUNDLE).exists()
    # The files are measured again by the same command: these sessions count against none of them.
    assert len(MeasuringSessions(run.folder).counted("here")) == EARLIER
    write_config(attempts(run, 2))
    shown = CliRunner().invoke(app, ["run", str(run.folder), "-q"])
    assert isinstance(shown.exception, InfeasibleError)
    assert not (run.folder / BUNDLE).exists()


def refuse(archs: list[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let the files of architectures fail their proof; returns the architectures whose files were exported."""
    proven, exported = bundling.proven_fp32, list[str]()

    def refusing(network: Network, plain: Path) -> tuple[Path, Parity]:
        exported.append(network.arch.id)
        if network.arch.id in archs:
            raise ParityError(f"the file of {network.arch} computes something else")
        return proven(network, plain)

    monkeypatch.setattr(bundling, "proven_fp32", refusing)
    return exported


def test_a_candidate_whose_file_is_refused_does_not_end_the_run(
    run: Run, timer: Callable[..., list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = timer(within)
    first, second = run.result(VerifyRecord).to_json()["candidates"][:2]
    refuse([first], monkeypatch)
    run_stages(attempts(run, 2), silent, ["export"])
    assert len(asked) == 1
    exported = run.result(ExportRecord)
    assert exported.chosen.arch.id == second
    assert [attempt.refused is None for attempt in exported.attempts] == [False, True]
    assert exported.notes == (
        f"{first} was tried as well: its file was refused: the file of {first} computes something else",
    )


def test_the_run_ends_where_the_files_of_all_candidates_are_refused(
    run: Run, timer: Callable[..., list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, archs = timer(within), run.result(VerifyRecord).to_json()["candidates"]
    refuse(archs, monkeypatch)
    with pytest.raises(ParityError, match="computes something else") as raised:
        run_stages(attempts(run, len(archs)), silent, ["export"])
    assert all(arch in str(raised.value) for arch in archs)
    assert not asked
    assert len(MeasuringSessions(run.folder).counted("here")) == EARLIER
    assert not run.done("export")


@pytest.mark.parametrize("count", [1, 2])
def test_a_refused_file_is_one_of_the_attempts(
    run: Run, timer: Callable[..., list[list[str]]], monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """No candidate beyond `verify.attempts` is exported, even where all that were tried are refused."""
    asked, archs = timer(within), run.result(VerifyRecord).to_json()["candidates"]
    assert len(archs) > count
    exported = refuse(archs[:count], monkeypatch)
    with pytest.raises(ParityError, match="computes something else"):
        run_stages(attempts(run, count), silent, ["export"])
    assert exported == archs[:count]
    assert not asked
    assert not run.done("export")


def test_where_none_is_significantly_within_it_ships_under_that_name_and_exit_code(
    run: Run, timer: Callable[..., list[list[str]]]
) -> None:
    asked = timer(lambda session, limit: over(session, limit) if session == 0 else not_significant(session, limit))
    write_config(attempts(run, 2))
    shown = CliRunner().invoke(app, ["run", str(run.folder), "-q"])
    assert shown.exit_code == 3, shown.output
    assert "not significantly within the budget" in shown.stdout
    assert len(asked) == 2
    summary = read_json(run.folder / "summary.json")
    assert summary["chosen"]["verdict"] == "not significant"
    assert summary["chosen"]["arch"] == run.result(VerifyRecord).to_json()["candidates"][1]
    # Again, it says the same of the finished run.
    again = CliRunner().invoke(app, ["run", str(run.folder), "--json", "-q"])
    assert again.exit_code == 3
    assert json.loads(again.stdout)["chosen"] == summary["chosen"]
    status = CliRunner().invoke(app, ["status", str(run.folder)])
    assert "not significantly within the budget" in status.stdout


def test_a_disturbed_session_is_repeated_once_and_its_figures_are_discarded(
    run: Run, timer: Callable[..., list[list[str]]]
) -> None:
    asked = timer(
        lambda session, limit: over(session, limit) if session == 0 else within(session, limit),
        flagged=lambda session: 8 if session == 0 else 0,
    )
    run_stages(run, silent, ["export"])
    assert len(asked) == 2
    latency = run.result(ExportRecord).to_json()["chosen"]["latency"]["here"]
    assert (latency["verdict"], latency["repeated"], latency["warnings"]) == ("within", True, [])
    assert [(row.state, row.repeated) for row in MeasuringSessions(run.folder).of("here")][EARLIER:] == [
        ("disturbed", False),
        ("kept", True),
    ]
    assert len(run.result(ExportRecord).attempts) == 1
    assert run.result(ExportRecord).notes == ()


def test_warnings_that_remain_stand_beside_the_verdict(run: Run, timer: Callable[..., list[list[str]]]) -> None:
    asked = timer(within, flagged=lambda _: 8)
    run_stages(run, silent, ["export"])
    assert len(asked) == 2
    latency = run.result(ExportRecord).to_json()["chosen"]["latency"]["here"]
    assert latency["repeated"]
    assert latency["warnings"] == ["8 of 8 processes: it was noisy"]


@pytest.mark.parametrize(
    ("verdicts", "ships"),
    [
        (["within"], 0),
        (["over", "not significant", "within"], 2),
        (["over", "not significant", "not significant"], 1),
        (["over", "over"], None),
        ([None], 0),
        ([], None),
    ],
)
def test_the_first_file_within_ships_and_else_the_first_that_is_not_over(
    verdicts: list[Verdict | None], ships: int | None
) -> None:
    assert first_to_ship(verdicts) == ships


def attempts(run: Run, count: int) -> Run:
    verify = run.config.verify.model_copy(update={"attempts": count})
    return dataclasses.replace(run, config=run.config.model_copy(update={"verify": verify}))


def write_config(run: Run) -> None:
    """Write down the config, with the default budget as one that was asked for."""
    config = run.config.model_copy(update={"budgets": run.result(SearchRecord).budgets})
    (run.folder / "config.yaml").write_text(dump_config(config))


def test_the_verdict_stands_beside_the_limit_that_it_is_of() -> None:
    """The p50 is over its limit, the p95 nearer to twice its own: what is stated is the p50."""
    p50, p95 = Budget(LATENCY, limit=100.0, device="here"), Budget(P95, limit=200.0, device="here")
    measured = dataclasses.replace(measurement((105.0,) * 8, 0), processes_p95_us=(*(150.0,) * 6, *(300.0,) * 2))
    found = decisive([judge_measured(measured, budget) for budget in (p50, p95)])
    assert (found.verdict, found.budget, found.value_us) == ("over", p50, 105.0)
