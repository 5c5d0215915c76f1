"""The share of an unfinished stage that is done, from the files that it appends to."""

from __future__ import annotations

from edgenas.records.finetune import HalvingPlan
from edgenas.records.ledger import Ledger
from edgenas.records.paths import EVALUATIONS, PLAN, PLANS
from edgenas.records.search import EvaluationRow
from edgenas.records.train import FixedSettings, StepRow
from edgenas.runs.run import Run


def stage_state(run: Run, stage: str) -> str:
    """Return `done`, `to do`, or how much of a training, search or fine-tuning is done, in words.

    Raises:
        RunFolderError: a file of the stage is damaged.
    """
    if run.done(stage):
        return "done"
    counted = {"train": _training, "search": _search, "finetune": _finetuning}
    return (counted[stage](run) if stage in counted else None) or "to do"


def _training(run: Run) -> str | None:
    folder = run.result_path("train").parent
    settings, rows = folder / "fixed_settings.json", Ledger(folder / "training.jsonl", StepRow).rows()
    if not rows or not settings.exists():
        return None
    steps = FixedSettings.read(settings, f"run `edgenas train {run.folder}`").steps
    return f"{rows[-1].step + 1} of {steps} steps"


def _search(run: Run) -> str | None:
    rows = Ledger(run.folder / EVALUATIONS, EvaluationRow, run.space).rows()
    scored = {row.arch for row in rows}
    return f"{len(scored)} scored, {run.config.search.evaluations} asked for" if scored else None


def _finetuning(run: Run) -> str | None:
    """State how many of the trainings of successive halving are finished, of those of its plan."""
    if not (run.config.halves and (run.folder / PLAN).exists()):
        return None
    plan = HalvingPlan.read(run.folder / PLAN, f"run `edgenas finetune {run.folder}`", run.spaces)
    finished = len(list((run.folder / PLANS / plan.setting).glob("*/result.json")))
    return f"{finished} of {sum(plan.rung_networks)} trainings of {len(plan.candidates)} networks"
