"""The time of a run, stage by stage, and its energy where the machine measures it."""

from __future__ import annotations

from collections.abc import Sequence

from edgenas.quantities import format_count
from edgenas.records.folder import StageCostRow, SummaryRecord
from edgenas.report.formats import MISSING, duration, energy

STAGES = {
    "profile": "measuring the devices",
    "train": "training the supernet",
    "search": "search",
    "verify": "measuring the front",
    "finetune": "fine-tuning",
    "export": "export",
}
COLUMNS = ("stage", "time", "energy", "work")


def total(summary: SummaryRecord, costs: Sequence[StageCostRow]) -> str:
    """State the time and the energy of the whole run, as far as they were recorded."""
    supernet, search = summary.supernet, summary.search
    trained = "Nothing was trained"
    if supernet is not None and supernet.images_per_second:
        trained = f"Training took {duration(supernet.train_seconds)}"
    each = duration(search.seconds / max(search.evaluations, 1))
    scored = f"{search.evaluations:,} networks scored in {each} each, none of them trained separately"
    whole = f"; all stages together took {duration(sum(row.seconds for row in costs))}" if costs else ""
    return f"{trained}, the search took {duration(search.seconds)}: {scored}{whole}. {_energy(costs)}"


def _energy(costs: Sequence[StageCostRow]) -> str:
    if not costs:
        return "Energy was not recorded"
    readings = [row.energy_joules for row in costs if row.energy_joules is not None]
    if not readings:
        return "Energy was not readable on this machine"
    if len(readings) < len(costs):
        return "Energy was not readable throughout"
    return f"The whole processor, other programs included, used {energy(sum(readings))}"


def rows(summary: SummaryRecord, costs: Sequence[StageCostRow]) -> list[list[str]]:
    """Return each stage of the run under `COLUMNS`."""
    supernet, search = summary.supernet, summary.search
    seconds = {"search": search.seconds}
    scores = {device: score for device, score in summary.predictors.items() if score}
    tested = [
        f"{score.n_fit + score.n_test:,} rows fitted and networks tested on {device}"
        for device, score in scores.items()
    ]
    work = {"profile": ", ".join(tested)}
    if supernet is not None:
        work["train"], seconds["train"] = f"{format_count(supernet.params)} parameters", supernet.train_seconds
    work |= {"search": f"{search.evaluations:,} networks scored", "verify": f"{len(summary.front):,} networks"}
    if summary.finetune is not None:
        work["finetune"] = ""
    if supernet is not None:
        work["export"] = ""
    return [
        [STAGES[stage], *_spent([row for row in costs if row.stage == stage], seconds.get(stage)), text]
        for stage, text in work.items()
    ]


def _spent(recorded: Sequence[StageCostRow], otherwise: float | None) -> list[str]:
    """Return time and energy, repetitions included; without recorded costs, the seconds that a summary states."""
    if recorded:
        return [duration(sum(row.seconds for row in recorded)), _sum(recorded)]
    return [MISSING if otherwise is None else duration(otherwise), MISSING]


def _sum(recorded: Sequence[StageCostRow]) -> str:
    joules = [row.energy_joules for row in recorded if row.energy_joules is not None]
    return energy(sum(joules)) if len(joules) == len(recorded) else "not readable"
