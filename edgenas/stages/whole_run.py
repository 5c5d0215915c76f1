"""Run stages in order, for whole runs and for single stages."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial

from edgenas.progress import Progress
from edgenas.report.writing import write_report
from edgenas.runs.lock import locked
from edgenas.runs.run import ORDER, Run
from edgenas.runs.stage_costs import metered
from edgenas.stages.budgets.feasibility_notes import feasibility_lines
from edgenas.stages.budgets.limits import Limits, unchecked_limits
from edgenas.stages.export import run_export
from edgenas.stages.finetune import run_finetune
from edgenas.stages.profile import run_profile
from edgenas.stages.select import run_search, run_verify
from edgenas.stages.summary import write_summary
from edgenas.stages.train import run_train
from edgenas.training.distributed import join_process_group
from edgenas.training.setup import compute_device

LOGGER = logging.getLogger(__name__)


def run_report(run: Run, progress: Progress) -> None:
    """Write `summary.json` and the report, from saved files only; unlike other stages, on every call."""
    progress("reporting", 0, 1)
    write_summary(run)
    write_report(run.folder)
    progress("reporting", 1, 1)


def run_stages(run: Run, progress: Progress, stages: Sequence[str] = ORDER, *, minutes: float | None = None) -> None:
    """Run `stages` one after another and skip finished ones. The run folder is locked meanwhile.

    Among several stages, those are skipped that the run lacks something for; for a single stage that is an error.

    Args:
        run: the run.
        progress: called with what is being done, steps done and in all.
        stages: names of the stages, in order.
        minutes: training time, instead of `train.epochs`; fixed when training begins.

    Raises:
        RunFolderError: another process holds the run folder.
        ConfigError: the only stage is one that the run lacks something for.
    """
    functions: dict[str, Callable[[Run, Progress], None]] = {
        "profile": run_profile,
        "train": partial(run_train, minutes=minutes),
        "search": run_search,
        "verify": run_verify,
        "finetune": run_finetune,
        "export": run_export,
        "report": run_report,
    }
    with locked(run.folder):
        for stage in stages:
            if len(stages) == 1:
                run.needs(stage)
            elif run.lacks(stage) is not None:
                continue
            if stage == "report" or run.done(stage):
                functions[stage](run, progress)
                continue
            with metered(run.folder, stage):
                functions[stage](run, progress)
            if stage == "profile":
                _report_feasibility(unchecked_limits(run))


def _report_feasibility(limits: Limits) -> None:
    """Report how much of the space is within the budgets, as soon as latencies are known."""
    for line in feasibility_lines(limits.feasibility, limits.budgets):
        LOGGER.warning("note: %s", line)


def train_together(begin: Callable[[], Run], reopen: Callable[[], Run], device: str, progress: Progress) -> Run:
    """Train in all processes that `torchrun` started; the first one begins the run, holds its lock and writes.

    Args:
        begin: starts or opens the run.
        reopen: opens it once it is begun.
        device: `train.device` of its config.
        progress: called with what is being done, steps done and in all; by the first process alone.

    Raises:
        ConfigError: a batch cannot be shared by the processes.
        EdgenasError: another process has ended; the last checkpoint is kept.
    """
    with join_process_group(compute_device(device)) as processes:
        if processes.first:
            run = begin()
            with locked(run.folder):
                processes.wait()
                with nullcontext() if run.done("train") else metered(run.folder, "train"):
                    run_train(run, progress, processes=processes)
            return run
        processes.wait()
        run = reopen()
        run_train(run, _silent, processes=processes)
        return run


def _silent(label: str, done: int, total: int) -> None:
    """Report no progress: the first process does."""
