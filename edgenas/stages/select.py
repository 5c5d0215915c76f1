"""Stages search and verify: search the space, measure the front, judge it, refit the predictors, and search again.

Predicted latency steers the search, and only measurements decide. Where a network of the front is over a budget, the
latency predictors are refitted on the measurements and the space is searched again, up to `verify.refits` times.
Devices known by a table alone are not measured: their latencies stay predictions.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from edgenas.accuracy.scores import AccuracySource
from edgenas.budget import Budget
from edgenas.config.run_config import RunConfig
from edgenas.errors import InfeasibleError
from edgenas.profiling.measurement import network_row
from edgenas.progress import Progress
from edgenas.records.ledger import Ledger
from edgenas.records.refit import RefitRecord
from edgenas.records.search import EvaluationRow, SearchRecord
from edgenas.records.verify import FirstPrediction, VerifyRecord
from edgenas.runs.run import Run
from edgenas.space.arch import Arch
from edgenas.stages.budgets.limits import Limits, find_limits
from edgenas.stages.devices.device_latencies import DeviceLatencies
from edgenas.stages.devices.first_predictions import first_predictions
from edgenas.stages.front.front_measuring import FrontMeasurer, front_measurer
from edgenas.stages.front.gene_importance import write_understanding
from edgenas.stages.front.measured_front import MeasuredFront
from edgenas.stages.front.search import FrontSearch
from edgenas.stages.front.shelf_timing import time_shelf
from edgenas.stages.front.verified import FrontRecorder
from edgenas.stages.weights.run_accuracy import evaluation_ledger, run_source

LOGGER = logging.getLogger(__name__)
Keep: TypeAlias = Callable[[SearchRecord | RefitRecord], None]
"""Writes what a selection found on its way."""
UNASKED_REFITS = 5
"""Factor on `verify.refits` where no network meets the default budget, which is raised then."""


def search_space(run: Run, latencies: DeviceLatencies, progress: Progress) -> SearchRecord:
    """Search the run's space within its budgets.

    No subnet is scored twice: a search that was stopped repeats its steps with scores from search/evaluations.jsonl.

    Raises:
        ConfigError: the budgets cannot be met; the message gives the nearest that can, and which contradict.
        EdgenasError: too many subnets could not be scored; the message gives the first one and the cause.
    """
    limits = feasible_limits(run, latencies)
    return _front_search(run, run_source(run), progress).search(limits, latencies.refits)


def verify_front(
    run: Run, searched: SearchRecord, latencies: DeviceLatencies, keep: Keep, progress: Progress
) -> VerifyRecord:
    """Measure the search's front and order the networks within every budget: the most accurate first, or as asked.

    int8 devices measure int8 files. Networks that lose more accuracy in int8 than `export.max_drop` are dropped, too.

    Args:
        run: the run.
        searched: its finished search.
        latencies: latencies of its devices.
        keep: see `select`.
        progress: called with the current step, steps done and in all.

    Raises:
        InfeasibleError: every measured network is over a budget, or loses too much in int8.
        DataError: fewer training images than int8 is to be calibrated on.
        ParityError: no network is scored as in the search.
    """
    source = run_source(run)
    measurer = front_measurer(run, source, latencies.variant, progress)
    selection = select(run, searched, latencies, _front_search(run, source, progress), measurer, keep)
    try:
        ordered = selection.front.ordered(run.config.search)
    except InfeasibleError:
        # The same command measures again instead of reading the same rows.
        measurer.measure_again(withdrawn=1)
        raise
    time_shelf(run, selection.limits, progress)
    write_understanding(run.folder, _scored_top1(evaluation_ledger(run), source), ordered[0].arch, selection.limits)
    predictions = selection.first_predictions(run.config.profile.coverage)
    recorder = FrontRecorder(run.config, selection.front, selection.limits, predictions, source)
    return recorder.record(ordered, selection.latencies.refits, _notes(run.devices.tables))


@dataclass(frozen=True)
class Selection:
    """A measured front, and what it was selected by.

    Attributes:
        latencies: latencies that the search predicted with.
        limits: budgets that it kept to.
        front: the front, as measured on every device.
    """

    latencies: DeviceLatencies
    limits: Limits
    front: MeasuredFront

    def first_predictions(self, coverage: float) -> dict[str, tuple[FirstPrediction, ...]]:
        """Return the predictions of all measured networks, made before they were measured, by measured device.

        Args:
            coverage: nominal coverage of intervals.
        """
        return {
            device: first_predictions(
                self.limits.predictors[device],
                self.latencies.tables[device],
                self.latencies.first_predictions(device),
                {candidate.arch: candidate.measured[device].p50_us for candidate in self.front.accepted},
                coverage,
            )
            for device in self.front.devices
        }

    def refitted(self, config: RunConfig) -> DeviceLatencies:
        """Return the latencies, refitted on the front's measurements."""
        space = self.limits.space
        rows = {
            device: [
                network_row(space.structure_id, space.num_classes, candidate.arch.id, candidate.measured[device])
                for candidate in self.front.accepted
            ]
            for device in self.front.devices
        }
        predictions = self.first_predictions(config.profile.coverage)
        # Rows of earlier, faster sessions would keep the default budget below what can be met now.
        discard = self.front.all_over and not config.budgets
        return self.latencies.refitted(rows, predictions, discard_earlier=discard)


def select(
    run: Run,
    searched: SearchRecord,
    latencies: DeviceLatencies,
    search: FrontSearch,
    measurer: FrontMeasurer,
    keep: Keep,
) -> Selection:
    """Search, measure, judge and refit until the front is within every budget, or the refits are spent.

    The front, and the default budget that it is compared with, change with every refit. Each new front is measured
    together, in sessions of its own.

    Args:
        run: the run.
        searched: its finished search, which is the first one of the loop if it used these latencies.
        latencies: latencies of its devices.
        search: searches its space.
        measurer: measures fronts.
        keep: writes every further search and refit, so that a stopped selection resumes.
    """
    limits = feasible_limits(run, latencies)
    while True:
        if not is_current(searched, run.config, latencies.refits):
            searched = search.search(limits, latencies.refits)
            keep(searched)
        candidates = measurer.measure(searched.front)
        front = MeasuredFront(candidates, run.objectives, limits.budgets, run.config.export.max_drop)
        selection = Selection(latencies, limits, front)
        if not front.missed or latencies.refits >= _most_refits(run, front):
            return selection
        latencies = selection.refitted(run.config)
        # Networks that are compared are timed in one session, also those that two fronts have in common.
        measurer.measure_again(withdrawn=0)
        keep(latencies.refit)
        limits = feasible_limits(run, latencies, before=limits.budgets)


def _most_refits(run: Run, front: MeasuredFront) -> int:
    """Return how often predictors may be refitted.

    More often for a default budget that no network meets. Not at all for a front that is partly within its budgets
    where several candidates are fine-tuned: these are chosen along the whole range of latencies, and timed before.
    """
    config = run.config
    if config.tuned_candidates > 1 and run.devices.in_reach and not front.all_over:
        return 0
    is_raised = front.all_over and not config.budgets
    return config.verify.refits * (UNASKED_REFITS if is_raised else 1)


def feasible_limits(run: Run, latencies: DeviceLatencies, before: tuple[Budget, ...] = ()) -> Limits:
    """Return the run's budgets as limits, and warn where they are others than before.

    Raises:
        ConfigError: the budgets cannot be met; the message gives the nearest that can, and which contradict.
        TableError: see `find_limits`.
    """
    limits = find_limits(run.config, run.networks, run.devices, latencies)
    if before and limits.budgets != before:
        LOGGER.warning(
            "note: the front was measured slower than predicted, so the default budget is raised: it is %s now, was %s",
            ", ".join(budget.words for budget in limits.budgets),
            ", ".join(budget.words for budget in before),
        )
    limits.require_feasible()
    return limits


def is_current(searched: SearchRecord, config: RunConfig, refits: int) -> bool:
    """Return whether a search is as long as the config asks for, and used predictors that were refitted as often."""
    return searched.asked >= config.search.evaluations and searched.refits == refits


def _front_search(run: Run, source: AccuracySource, progress: Progress) -> FrontSearch:
    return FrontSearch(run.config.search, run.objectives, source, evaluation_ledger(run), run.folder, progress)


def _scored_top1(ledger: Ledger[EvaluationRow], source: AccuracySource) -> dict[Arch, float]:
    """Return top-1 of all architectures that were scored with these weights, or by this source."""
    return {row.arch: 1 - row.error for row in ledger.rows() if row.weights == source.setting.weights}


def _notes(tables: Mapping[str, str]) -> tuple[str, ...]:
    """Return which devices were not measured, in words."""
    return tuple(
        f"{name}: not measured, because it is represented by the table {table} alone: its latencies are predictions"
        for name, table in tables.items()
    )
