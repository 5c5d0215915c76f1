"""What a run took, stage by stage: time, and energy where the machine tells it."""

from __future__ import annotations

from edgenas.report.formats import MISSING, count, duration, energy
from edgenas.report.values import Run, Spent

STAGES = {
    "profile": "measuring the devices",
    "train": "training the supernet",
    "search": "search",
    "verify": "measuring the front",
    "finetune": "fine-tuning",
    "export": "export",
}


COST_HEADER = ("", "time", "energy", "")


def cost(run: Run) -> str:
    """What the run took, as far as it was recorded."""
    supernet, searched = run.summary.supernet, run.search.seconds
    trained = "Nothing was trained"
    # Weights may have been taken over as they are.
    if supernet is not None and supernet.images_per_second:
        trained = f"Training took {duration(supernet.train_seconds)}"
    each = duration(searched / max(run.search.evaluations, 1))
    judged = f"{run.search.evaluations:,} networks judged at {each} each, none of them trained anew"
    total = sum(row.seconds for row in run.costs)
    whole = f"; all stages together took {duration(total)}" if run.costs else ""
    return f"{trained}, the search took {duration(searched)}: {judged}{whole}. {_energy(run)}"


def _energy(run: Run) -> str:
    known = [row.energy_joules for row in run.costs]
    if not known:
        return "Energy was not recorded"
    told = [joules for joules in known if joules is not None]
    if len(told) < len(known):
        return "Energy was not readable on this machine" if not told else "Energy was not readable throughout"
    return f"That took {energy(sum(told))} of the whole processor, other programs included"


def cost_rows(run: Run) -> list[list[str]]:
    """A row for each stage: its time, its energy, and what that was for."""
    what = dict.fromkeys(STAGES, "") | {"search": f"{run.search.evaluations:,} networks judged"}
    what["profile"] = ", ".join(
        f"{score.n_fit + score.n_test:,} rows fitted and networks tested on {device}"
        for device, score in run.scores.items()
    )
    what["verify"] = f"{len(run.summary.front):,} networks"
    if run.summary.supernet is not None:
        what["train"] = f"{count(run.summary.supernet.params)} parameters"
    return [[name, *_spent(run, stage), what[stage]] for stage, name in STAGES.items() if _took(run, stage)]


def _took(run: Run, stage: str) -> bool:
    """Whether the run has such a stage."""
    if stage == "finetune":
        return run.summary.finetune is not None
    return run.summary.supernet is not None or stage not in ("train", "export")


def _spent(run: Run, stage: str) -> list[str]:
    """Time and energy, also of what was done again; runs of older versions know two stages' time alone."""
    rows = [row for row in run.costs if row.stage == stage]
    if rows:
        return [duration(sum(row.seconds for row in rows)), _together(rows)]
    known = {"search": run.search.seconds}
    if run.summary.supernet is not None:
        known["train"] = run.summary.supernet.train_seconds
    return [duration(known[stage]) if stage in known else MISSING, MISSING]


def _together(rows: list[Spent]) -> str:
    joules = [row.energy_joules for row in rows if row.energy_joules is not None]
    return energy(sum(joules)) if len(joules) == len(rows) else "not readable"
