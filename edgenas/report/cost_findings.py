"""The time of a run, stage by stage, and its energy where the machine measures it."""

from __future__ import annotations

from edgenas.records.folder import StageCostRow
from edgenas.report.formats import MISSING, count, duration, energy
from edgenas.report.values import FinishedRun

STAGES = {
    "profile": "measuring the devices",
    "train": "training the supernet",
    "search": "search",
    "verify": "measuring the front",
    "finetune": "fine-tuning",
    "export": "export",
}
COLUMNS = ("stage", "time", "energy", "work")


def total(run: FinishedRun) -> str:
    """State the time and the energy of the whole run, as far as they were recorded."""
    supernet, seconds = run.summary.supernet, run.search.seconds
    trained = "Nothing was trained"
    if supernet is not None and supernet.images_per_second:
        trained = f"Training took {duration(supernet.train_seconds)}"
    each = duration(seconds / max(run.search.evaluations, 1))
    scored = f"{run.search.evaluations:,} networks scored in {each} each, none of them trained separately"
    whole = f"; all stages together took {duration(sum(row.seconds for row in run.costs))}" if run.costs else ""
    return f"{trained}, the search took {duration(seconds)}: {scored}{whole}. {_energy(run)}"


def _energy(run: FinishedRun) -> str:
    if not run.costs:
        return "Energy was not recorded"
    readings = [row.energy_joules for row in run.costs if row.energy_joules is not None]
    if not readings:
        return "Energy was not readable on this machine"
    if len(readings) < len(run.costs):
        return "Energy was not readable throughout"
    return f"The whole processor, other programs included, used {energy(sum(readings))}"


def rows(run: FinishedRun) -> list[list[str]]:
    """Return each stage of the run under `COLUMNS`."""
    work = dict.fromkeys(STAGES, "") | {"search": f"{run.search.evaluations:,} networks scored"}
    work["profile"] = ", ".join(
        f"{score.n_fit + score.n_test:,} rows fitted and networks tested on {device}"
        for device, score in run.scores.items()
    )
    work["verify"] = f"{len(run.summary.front):,} networks"
    if run.summary.supernet is not None:
        work["train"] = f"{count(run.summary.supernet.params)} parameters"
    return [[name, *_spent(run, stage), work[stage]] for stage, name in STAGES.items() if _has_stage(run, stage)]


def _has_stage(run: FinishedRun, stage: str) -> bool:
    if stage == "finetune":
        return run.summary.finetune is not None
    return run.summary.supernet is not None or stage not in ("train", "export")


def _spent(run: FinishedRun, stage: str) -> list[str]:
    """Return time and energy, repetitions included; without recorded costs, the time of two stages alone."""
    recorded = [row for row in run.costs if row.stage == stage]
    if recorded:
        return [duration(sum(row.seconds for row in recorded)), _sum(recorded)]
    seconds = {"search": run.search.seconds}
    if run.summary.supernet is not None:
        seconds["train"] = run.summary.supernet.train_seconds
    return [duration(seconds[stage]) if stage in seconds else MISSING, MISSING]


def _sum(recorded: list[StageCostRow]) -> str:
    joules = [row.energy_joules for row in recorded if row.energy_joules is not None]
    return energy(sum(joules)) if len(joules) == len(recorded) else "not readable"
