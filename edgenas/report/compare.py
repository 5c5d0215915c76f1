"""Runs side by side, from their saved files only, and what about them may not be compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgenas.deploy.bundle.shipped_wording import VERDICT_WORDS, milliseconds
from edgenas.errors import UserError
from edgenas.report import judgement
from edgenas.report.formats import MISSING, duration, ms, percent
from edgenas.report.load import load_run
from edgenas.report.values import Run
from edgenas.statistics.significance import standard_error

Fact = tuple[str, Callable[[Run], Any], Callable[[Any], str]]
"""What it is called, its value (None where unknown), and that for people."""


@dataclass(frozen=True)
class Compared:
    """Several runs.

    Attributes:
        names: of the runs, each once.
        values: by fact, a value for each run.
        rows: by fact, those for people.
        warnings: why some of it may not be compared, in sentences.
    """

    names: tuple[str, ...]
    values: dict[str, tuple[Any, ...]]
    rows: dict[str, tuple[str, ...]]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As the command prints it."""
        runs = [
            {"run": name, **{fact: values[place] for fact, values in self.values.items()}}
            for place, name in enumerate(self.names)
        ]
        return {"runs": runs, "warnings": list(self.warnings)}


def compare_runs(folders: Sequence[Path]) -> Compared:
    """Read runs and put them side by side.

    Raises:
        UserError: fewer than two.
        RunFolderError: see `load_run`.
    """
    if len(folders) < 2:
        raise UserError(f"compare: wanted at least two run folders, got {len(folders)}")
    runs = [load_run(folder) for folder in folders]
    devices = list(dict.fromkeys(device for run in runs for device in run.devices))
    values, rows = {}, {}
    for name, value, shown in [*_facts(), *(fact for device in devices for fact in _on(device))]:
        values[name] = tuple(value(run) for run in runs)
        rows[name] = tuple(MISSING if own is None else shown(own) for own in values[name])
    return Compared(_names(folders), values, rows, tuple(_warnings(runs, devices)))


def _names(folders: Sequence[Path]) -> tuple[str, ...]:
    """Folders' own names, with as many of those above as tell them apart."""
    parts = [folder.resolve().parts for folder in folders]
    depth = 1
    while len({own[-depth:] for own in parts}) < len(set(parts)):
        depth += 1
    return tuple("/".join(own[-depth:]) for own in parts)


def _facts() -> list[Fact]:
    return [
        ("data set", lambda run: run.dataset.name, str),
        ("space", lambda run: run.summary.space, str),
        ("chosen", lambda run: run.summary.chosen and run.summary.chosen.arch, str),
        ("validation top-1", lambda run: run.summary.chosen and run.summary.chosen.val_top1, lambda v: percent(v, 2)),
        ("test top-1", lambda run: run.summary.chosen and run.summary.chosen.test_top1, lambda v: percent(v, 2)),
        ("int8 test top-1", lambda run: run.summary.int8 and run.summary.int8.test_top1, lambda v: percent(v, 2)),
        ("front", lambda run: len(run.summary.front), str),
        ("evaluations", lambda run: run.search.evaluations, lambda v: f"{v:,}"),
        ("search time", lambda run: run.search.seconds, duration),
        ("training time", lambda run: run.summary.supernet and run.summary.supernet.train_seconds, duration),
        ("strategy", lambda run: run.search.strategy, str),
    ]


def _on(device: str) -> list[Fact]:
    """Facts on one device."""

    def predicted(run: Run) -> float | None:
        chosen = run.summary.chosen
        own = [n for n in run.summary.front if chosen and n.arch == chosen.arch and device in n.latency]
        return own[0].latency[device].predicted_us if own else None

    def shipped(run: Run, key: str) -> Any:
        return getattr(judgement.chosen_latency(run).get(device), key, None)

    def budget(run: Run) -> float | None:
        return min((budget.limit for budget in judgement.latency_budgets(run, device)), default=None)

    def score(run: Run, key: str) -> Any:
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


def _warnings(runs: Sequence[Run], devices: Sequence[str]) -> list[str]:
    said = []
    if len({(run.dataset.name, tuple(sorted(run.dataset.counts.items()))) for run in runs}) > 1:
        said.append("Warning: data sets or their splits differ, so accuracies may not be compared.")
    for device in devices:
        known = [run.identities[device] for run in runs if device in run.identities]
        fields = sorted({key for one in known for key in one if len({str(other.get(key)) for other in known}) > 1})
        if fields:
            said.append(
                f"Warning: {device} was measured with another {', '.join(fields)}: latencies may differ by that."
            )
        processors = {str(run.circumstances.get(device, {}).get("cpu")) for run in runs if device in run.scores}
        if len(processors) > 1:
            said.append(f"Warning: {device} is another processor in each run ({', '.join(sorted(processors))}).")
    n = min((run.dataset.counts.get("test", 0) for run in runs), default=0)
    tops = [run.summary.chosen.test_top1 for run in runs if run.summary.chosen and run.summary.chosen.test_top1]
    if len(tops) > 1 and n and max(tops) - min(tops) < 2 * 2**0.5 * standard_error(max(tops), n):
        said.append(
            "Warning: test accuracies are closer than two standard errors of their difference: chance may rank them."
        )
    return said
