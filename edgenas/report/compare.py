"""Compare finished runs, from their saved files only, with warnings about what differs between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from edgenas.deploy.bundle.shipped_wording import VERDICT_WORDS
from edgenas.errors import UserError
from edgenas.quantities import milliseconds
from edgenas.records.folder import SummaryRecord
from edgenas.report import findings
from edgenas.report.formats import MISSING, duration, percent
from edgenas.report.load import load_run
from edgenas.report.values import FinishedRun
from edgenas.statistics.significance import standard_error

Value = TypeVar("Value", bound=str | float)


@dataclass(frozen=True)
class Fact:
    """A fact of a run, as a value and as text; the value is None where it is unknown."""

    value: str | float | None
    text: str


@dataclass(frozen=True)
class RunComparison:
    """Several finished runs.

    Attributes:
        names: names of the runs, all different.
        facts: by name, a fact of each run.
        warnings: why some facts cannot be compared, in sentences.
    """

    names: tuple[str, ...]
    facts: dict[str, tuple[Fact, ...]]
    warnings: tuple[str, ...]

    @property
    def rows(self) -> dict[str, tuple[str, ...]]:
        """The facts as text."""
        return {name: tuple(fact.text for fact in facts) for name, facts in self.facts.items()}

    def to_json(self) -> dict[str, object]:
        """Return the values of each run and the warnings, as the command prints them."""
        runs = [
            {"run": run, **{name: facts[index].value for name, facts in self.facts.items()}}
            for index, run in enumerate(self.names)
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
    columns = [_facts(run.summary, devices) for run in runs]
    facts = {name: tuple(column[name] for column in columns) for name in columns[0]}
    return RunComparison(_names(folders), facts, tuple(_warnings(runs, devices)))


def _names(folders: Sequence[Path]) -> tuple[str, ...]:
    """Return the folders' names, with as many parent folders as make them different."""
    parts = [folder.resolve().parts for folder in folders]
    depth = 1
    while len({path[-depth:] for path in parts}) < len(set(parts)):
        depth += 1
    return tuple("/".join(path[-depth:]) for path in parts)


def _fact(value: Value | None, shown: Callable[[Value], str] = str) -> Fact:
    return Fact(value, MISSING if value is None else shown(value))


def _facts(summary: SummaryRecord, devices: Sequence[str]) -> dict[str, Fact]:
    """Return the facts of a run by name, those of each device last."""
    chosen, search, precise = summary.chosen, summary.search, partial(percent, decimals=2)
    facts = {
        "data set": _fact(summary.dataset),
        "space": _fact(summary.space),
        "chosen": _fact(chosen.arch.id),
        "validation top-1": _fact(chosen.val_top1, precise),
        "test top-1": _fact(chosen.test_top1, precise),
        "int8 test top-1": _fact(summary.int8.test_top1 if summary.int8 else None, precise),
        "front": _fact(len(summary.front)),
        "evaluations": _fact(search.evaluations, "{:,}".format),
        "search time": _fact(search.seconds, duration),
        "training time": _fact(summary.supernet.train_seconds if summary.supernet else None, duration),
        "strategy": _fact(search.strategy),
    }
    for device in devices:
        facts |= {f"{device}: {name}": fact for name, fact in _facts_on(summary, device).items()}
    return facts


def _facts_on(summary: SummaryRecord, device: str) -> dict[str, Fact]:
    """Return the facts of a run on one device."""
    chosen, score = summary.chosen.arch, summary.predictors.get(device)
    latency = findings.chosen_latency(summary).get(device)
    predictions = [network.latency.get(device) for network in summary.front if network.arch == chosen]
    predicted = predictions[0] if predictions else None
    limits = [budget.limit for budget in findings.latency_budgets(summary, device)]
    return {
        "budget ms": _fact(min(limits, default=None), milliseconds),
        "predicted ms": _fact(predicted.predicted_us if predicted else None, milliseconds),
        "p50 ms": _fact(latency.p50_us if latency else None, milliseconds),
        "p95 ms": _fact(latency.p95_us if latency else None, milliseconds),
        "within budget": _fact(latency.verdict if latency else None, VERDICT_WORDS.__getitem__),
        "predictor error": _fact(score.mape if score else None, percent),
        "repeat noise": _fact(score.repeat_noise if score else None, percent),
    }


def _warnings(runs: Sequence[FinishedRun], devices: Sequence[str]) -> Iterator[str]:
    if len({(run.images.name, tuple(sorted(run.images.counts.items()))) for run in runs}) > 1:
        yield "Warning: data sets or their splits differ, so accuracies cannot be compared"
    for device in devices:
        yield from _device_warnings([run for run in runs if device in run.devices], device)
    n = min(run.images.counts.get("test", 0) for run in runs)
    tops = [run.summary.chosen.test_top1 for run in runs if run.summary.chosen.test_top1]
    if len(tops) > 1 and n and max(tops) - min(tops) < 2 * 2**0.5 * standard_error(max(tops), n):
        yield "Warning: the difference of test accuracies is not significant: it is less than two standard errors"


def _device_warnings(runs: Sequence[FinishedRun], device: str) -> Iterator[str]:
    identities = [identity for run in runs if (identity := run.tables[device].identity)]
    keys = sorted({key for identity in identities for key in identity})
    fields = [key for key in keys if len({str(identity.get(key)) for identity in identities}) > 1]
    if fields:
        yield f"Warning: {device} was measured with different {', '.join(fields)}, so latencies may differ by that"
    processors = {run.tables[device].cpu or "unknown" for run in runs if device in run.scores}
    if len(processors) > 1:
        yield f"Warning: {device} has a different processor in each run ({', '.join(sorted(processors))})"
