"""Compare finished runs, from their saved files only, with warnings about what differs between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgenas.deploy.bundle.shipped_wording import VERDICT_WORDS
from edgenas.errors import UserError
from edgenas.quantities import milliseconds
from edgenas.report import findings
from edgenas.report.formats import MISSING, duration, ms, percent
from edgenas.report.load import load_run
from edgenas.report.values import FinishedRun
from edgenas.statistics.significance import standard_error

Fact = tuple[str, Callable[[FinishedRun], Any], Callable[[Any], str]]
"""Its name, its value of a run (None where unknown), and how a value is shown."""


@dataclass(frozen=True)
class RunComparison:
    """Several finished runs.

    Attributes:
        names: of the runs, all different.
        values: by fact, a value for each run.
        rows: by fact, those values as text.
        warnings: why some facts cannot be compared, in sentences.
    """

    names: tuple[str, ...]
    values: dict[str, tuple[Any, ...]]
    rows: dict[str, tuple[str, ...]]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the values of each run and the warnings, as the command prints them."""
        runs = [
            {"run": name, **{fact: values[place] for fact, values in self.values.items()}}
            for place, name in enumerate(self.names)
        ]
        return {"runs": runs, "warnings": list(self.warnings)}


def compare_runs(folders: Sequence[Path]) -> RunComparison:
    """Read finished runs and compare them.

    Raises:
        UserError: fewer than two.
        RunFolderError: see `load_run`.
    """
    if len(folders) < 2:
        raise UserError(f"compare: expected at least two run folders, got {len(folders)}")
    runs = [load_run(folder) for folder in folders]
    devices = list(dict.fromkeys(device for run in runs for device in run.devices))
    values, rows = {}, {}
    for name, value, shown in [*_facts(), *(fact for device in devices for fact in _on(device))]:
        values[name] = tuple(value(run) for run in runs)
        rows[name] = tuple(MISSING if each is None else shown(each) for each in values[name])
    return RunComparison(_names(folders), values, rows, tuple(_warnings(runs, devices)))


def _names(folders: Sequence[Path]) -> tuple[str, ...]:
    """Return the folders' names, with as many parent folders as make them different."""
    parts = [folder.resolve().parts for folder in folders]
    depth = 1
    while len({each[-depth:] for each in parts}) < len(set(parts)):
        depth += 1
    return tuple("/".join(each[-depth:]) for each in parts)


def _facts() -> list[Fact]:
    return [
        ("data set", lambda run: run.dataset.name, str),
        ("space", lambda run: run.summary.space, str),
        ("chosen", lambda run: run.summary.chosen.arch.id, str),
        ("validation top-1", lambda run: run.summary.chosen.val_top1, lambda v: percent(v, 2)),
        ("test top-1", lambda run: run.summary.chosen.test_top1, lambda v: percent(v, 2)),
        ("int8 test top-1", lambda run: run.summary.int8 and run.summary.int8.test_top1, lambda v: percent(v, 2)),
        ("front", lambda run: len(run.summary.front), str),
        ("evaluations", lambda run: run.search.evaluations, lambda v: f"{v:,}"),
        ("search time", lambda run: run.search.seconds, duration),
        ("training time", lambda run: run.summary.supernet and run.summary.supernet.train_seconds, duration),
        ("strategy", lambda run: run.search.strategy, str),
    ]


def _on(device: str) -> list[Fact]:
    """Return the facts of one device."""

    def predicted(run: FinishedRun) -> float | None:
        chosen = run.summary.chosen
        rows = [n for n in run.summary.front if n.arch == chosen.arch and device in n.latency]
        return rows[0].latency[device].predicted_us if rows else None

    def shipped(run: FinishedRun, key: str) -> Any:
        return getattr(findings.chosen_latency(run).get(device), key, None)

    def budget(run: FinishedRun) -> float | None:
        return min((budget.limit for budget in findings.latency_budgets(run, device)), default=None)

    def score(run: FinishedRun, key: str) -> Any:
        return getattr(run.scores[device], key) if device in run.scores else None

    return [
        (f"{device}: budget ms", budget, ms),
        (f"{device}: predicted ms", predicted, ms),
        (f"{device}: p50 ms", lambda run: shipped(run, "p50_us"), milliseconds),
        (f"{device}: p95 ms", lambda run: shipped(run, "p95_us"), milliseconds),
        (f"{device}: within budget", lambda run: shipped(run, "verdict"), VERDICT_WORDS.__getitem__),
        (f"{device}: predictor error", lambda run: score(run, "mape"), percent),
        (f"{device}: repeat noise", lambda run: score(run, "repeat_noise"), percent),
    ]


def _warnings(runs: Sequence[FinishedRun], devices: Sequence[str]) -> list[str]:
    warnings = []
    if len({(run.dataset.name, tuple(sorted(run.dataset.counts.items()))) for run in runs}) > 1:
        warnings.append("Warning: data sets or their splits differ, so accuracies cannot be compared")
    for device in devices:
        identities = [run.identities[device] for run in runs if device in run.identities]
        keys = sorted({key for identity in identities for key in identity})
        fields = [key for key in keys if len({str(identity.get(key)) for identity in identities}) > 1]
        if fields:
            warnings.append(
                f"Warning: {device} was measured with different {', '.join(fields)}, so latencies may differ by that"
            )
        processors = {str(run.circumstances.get(device, {}).get("cpu")) for run in runs if device in run.scores}
        if len(processors) > 1:
            warnings.append(
                f"Warning: {device} has a different processor in each run ({', '.join(sorted(processors))})"
            )
    n = min((run.dataset.counts.get("test", 0) for run in runs), default=0)
    tops = [run.summary.chosen.test_top1 for run in runs if run.summary.chosen.test_top1]
    if len(tops) > 1 and n and max(tops) - min(tops) < 2 * 2**0.5 * standard_error(max(tops), n):
        warnings.append(
            "Warning: the difference of test accuracies is not significant: it is less than two standard errors"
        )
    return warnings
