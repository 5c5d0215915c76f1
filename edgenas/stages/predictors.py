"""The latency predictors of a profiled run, refitted on all networks that were measured since."""

from __future__ import annotations

from edgenas.errors import TableError
from edgenas.latency.predictor import LatencyPredictor
from edgenas.latency.table import LatencyTable, find_table
from edgenas.latency.table_classes import table_space
from edgenas.records.profile import ProfileRecord
from edgenas.runs.run import Run
from edgenas.space.graph_variant import GraphVariant
from edgenas.stages.refit import refitted


def base_predictor(run: Run, num_classes: int) -> LatencyPredictor | None:
    """Return the predictor of another device that this run's predictors start from; None where the config names none.

    Raises:
        TableError: the table lacks blocks that the space's networks have.
    """
    if run.config.profile.base is None:
        return None
    table = find_table(run.config.profile.base)
    try:
        predictor = LatencyPredictor(run.space.with_classes(num_classes)).fit(table)
        predictor.predict([run.space.smallest, run.space.largest])
    except TableError as error:
        raise TableError(f"profile.base {run.config.profile.base}: {error}, or leave profile.base out") from None
    return predictor


def run_variant(run: Run) -> GraphVariant:
    """Return the graph variant in which the run's fp32 networks are exported and measured.

    Raises:
        RunFolderError: the run was not profiled yet.
    """
    return run.result(ProfileRecord).graph_variant


def run_predictors(run: Run) -> dict[str, LatencyPredictor]:
    """Return the fitted predictors by device name.

    Raises:
        RunFolderError: the run was not profiled yet.
    """
    return {name: _predictor(run, name) for name in run.result(ProfileRecord).predictors}


def _predictor(run: Run, device: str) -> LatencyPredictor:
    table = run_table(run, device)
    extended = refitted(run, table)
    if extended is table:
        return profiled_predictor(run, device)
    return LatencyPredictor(run.space).fit(extended, base_predictor(run, table_space(run.space, table).num_classes))


def profiled_predictor(run: Run, device: str) -> LatencyPredictor:
    """Return the predictor that was fitted on a device's table alone, without networks that were measured since."""
    return LatencyPredictor.load(run.folder / "latency" / device / "predictor.json", run.space)


def run_table(run: Run, device: str) -> LatencyTable:
    """Return the table measured on one device."""
    return LatencyTable.load(run.folder / "latency" / device)
