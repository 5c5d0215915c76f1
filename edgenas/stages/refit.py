"""Networks that `verify` measured, kept as further rows of the latency tables that predictors are fitted on.

Where a network of the front misses a budget, `verify` writes its measurements to `verify/refit.json`, and the space is
searched again with predictors that were fitted on these networks, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgenas.latency.table import LatencyTable
from edgenas.records.latency import LatencyRow
from edgenas.records.verify import FirstPrediction, MeasuredRows, RefitRecord
from edgenas.runs.run import Run

FILE = "verify/refit.json"
REMEDY = "continue without the earlier measurements"


def refits(run: Run) -> int:
    """Return how often predictors were refitted on what `verify` measured."""
    return refit_record(run).count


def refit_record(run: Run) -> RefitRecord:
    """Return what predictors were refitted on; an empty record before the first refit.

    Raises:
        RunFolderError: the file is damaged.
    """
    path = run.folder / FILE
    return RefitRecord.read(path, REMEDY, run.space) if path.exists() else RefitRecord(count=0, devices={})


def refitted(run: Run, table: LatencyTable) -> LatencyTable:
    """Return a device's table with the rows that `verify` measured in its setting; the table itself without any."""
    measured = _measured(run, table)
    return table if measured is None else table.extended(measured.rows)


def earlier_predictions(run: Run, table: LatencyTable) -> tuple[FirstPrediction, ...]:
    """Return predictions of networks of earlier fronts, made before they were measured in the table's setting."""
    measured = _measured(run, table)
    return () if measured is None else measured.predictions


def _measured(run: Run, table: LatencyTable) -> MeasuredRows | None:
    measured = refit_record(run).devices.get(table.identity.device)
    # With another runtime, graph variant or recipe since, earlier measurements do not compare.
    return None if measured is None or measured.identity != table.identity else measured


def keep_measured(
    run: Run,
    tables: Mapping[str, LatencyTable],
    rows: Mapping[str, Sequence[LatencyRow]],
    predictions: Mapping[str, Sequence[FirstPrediction]],
    *,
    discard_earlier: bool = False,
) -> None:
    """Add a front's rows to those of earlier ones.

    Args:
        run: being verified.
        tables: latency tables by device.
        rows: rows of the measured networks, by device.
        predictions: predictions of these and of earlier fronts' networks, made before measuring, by device.
        discard_earlier: leave out rows of earlier fronts, since the machine's speed has changed.
    """
    devices = {}
    for name, table in tables.items():
        profiled = {row.name: row for row in table.rows}
        extended = () if discard_earlier else refitted(run, table).rows
        earlier = [row for row in extended if profiled.get(row.name) != row]
        merged = {row.name: row for row in (*earlier, *rows[name])}
        devices[name] = MeasuredRows(
            identity=table.identity, rows=tuple(merged.values()), predictions=tuple(predictions[name])
        )
    RefitRecord(count=refits(run) + 1, devices=devices).write(run.folder / FILE)
