"""The latency predictors, tables and graph variant of a profiled run."""

from __future__ import annotations

from edgenas.latency.predictor import LatencyPredictor
from edgenas.latency.table import LatencyTable
from edgenas.records.profile import ProfileRecord
from edgenas.runs.run import Run
from edgenas.space.graph_variant import GraphVariant
from edgenas.stages.device_latencies import read_latencies


def run_variant(run: Run) -> GraphVariant:
    """Return the graph variant in which the run's fp32 networks are exported and measured.

    Raises:
        RunFolderError: the run was not profiled yet.
    """
    return run.result(ProfileRecord).graph_variant


def run_predictors(run: Run) -> dict[str, LatencyPredictor]:
    """Return the predictors by device name, fitted on everything that was measured.

    Raises:
        RunFolderError, TableError: see `read_latencies`.
    """
    return read_latencies(run).predictors


def run_table(run: Run, device: str) -> LatencyTable:
    """Return the table measured on one device."""
    return LatencyTable.load(run.folder / "latency" / device)
