"""Run stages in order, for whole runs and for single stages."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial

from edgenas.progress import Progress
from edgenas.records.paths import REFIT, SUMMARY
from edgenas.records.record import Record
from edgenas.records.refit import RefitRecord
from edgenas.records.search import SearchRecord
from edgenas.records.verify import VerifyRecord
from edgenas.report.writing import write_report
from edgenas.runs.lock import locked
from edgenas.runs.run import Run
from edgenas.runs.stage_costs import metered, spent_on_results
from edgenas.runs.stage_order import ORDER, RECORDS
from edgenas.stages.budgets.feasibility_notes import feasibility_lines
from edgenas.stages.budgets.limits import Limits, unchecked_limits
from edgenas.stages.devices.device_latencies import read_latencies, read_refit
from edgenas.stages.export import export_chosen
from edgenas.stages.finetune import finetune_networks
from edgenas.stages.profile import profile_devices
from edgenas.stages.select import is_current, search_space, verify_front
from edgenas.stages.summary import summarise
from edgenas.stages.time_shares import training_minutes
from edgenas.stages.train import follow_training, train_supernet
from edgenas.training.distributed import join_process_group
from edgenas.training.fixed_settings import warn_if_minutes_differ
from edgenas.training.setup import compute_device

LOGGER = logging.getLogger(__name__)


def run_stages(run: Run, progress: Progress, stages: Sequence[str] = ORDER, *, minutes: float | None = None) -> None:
    """Run `stages` one after another and skip finished ones. The run folder is locked meanwhile.

    Among several stages, those are skipped that the run lacks something for; for a single stage that is an error. The
    report is written on every call.

    Args:
        run: the run.
        progress: called with what is being done, steps done and in all.
        stages: names of the stages, in order.
        minutes: training time, instead of `train.epochs`; fixed when training begins.

    Raises:
        RunFolderError: another process holds the run folder.
        ConfigError: the only stage is one that the run lacks something for.
    """
    with locked(run.folder):
        for stage in stages:
            if len(stages) == 1:
                run.require(stage)
            elif run.lacks(stage) is not None:
                continue
            if stage == "train" and run.config.accuracy is None:
                warn_if_minutes_differ(run.result_path("train").parent, minutes)
            if stage == "report":
                _report(run, progress)
            elif not is_finished(run, stage):
                with metered(run.folder, stage):
                    run.finish(_record(run, stage, progress, minutes))
            if stage == "profile":
                _report_feasibility(unchecked_limits(run))


def is_finished(run: Run, stage: str) -> bool:
    """Return whether a stage has nothing left to do: a search that was extended, or refitted since, is not finished."""
    if stage == "search" and run.done(stage):
        return is_current(run.result(SearchRecord), run.config, read_refit(run).count)
    return run.done(stage)


def _record(run: Run, stage: str, progress: Progress, minutes: float | None) -> Record:
    """Do a stage: read the records that it needs, and return its own."""
    match stage:
        case "profile":
            return profile_devices(run, progress)
        case "train":
            return train_supernet(run, progress, minutes=minutes or _training_minutes(run))
        case "search":
            return search_space(run, read_latencies(run), progress)
        case "verify":
            return verify_front(run, run.result(SearchRecord), read_latencies(run), partial(_keep, run), progress)
        case "finetune":
            return finetune_networks(run, progress)
        case "export":
            return export_chosen(run, run.result(VerifyRecord), progress)
    raise ValueError(f"{stage} is no stage with a record: expected one of {', '.join(RECORDS)}")


def _training_minutes(run: Run) -> float | None:
    """Return the training time that follows from the run's minutes; None where epochs count."""
    minutes = run.config.minutes
    return None if minutes is None else training_minutes(minutes, spent_on_results(run.folder))


def _keep(run: Run, record: SearchRecord | RefitRecord) -> None:
    """Write a search or a refit that verify made on its way."""
    if isinstance(record, RefitRecord):
        record.write(run.folder / REFIT)
    else:
        run.finish(record)


def _report(run: Run, progress: Progress) -> None:
    """Write `summary.json` and the report, from saved files only."""
    progress("reporting", 0, 1)
    summarise(run).write(run.folder / SUMMARY)
    write_report(run.folder)
    progress("reporting", 1, 1)


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
            run.require("train")
            with locked(run.folder):
                processes.wait()
                if not run.done("train"):
                    with metered(run.folder, "train"):
                        run.finish(train_supernet(run, progress, processes=processes))
            return run
        processes.wait()
        run = reopen()
        run.require("train")
        if not run.done("train"):
            follow_training(run, processes)
        return run
