"""What measuring a front trains: its rows join the latency tables that predictors are fitted on.

Where a network of the front misses a budget, `verify` keeps all it measured in `verify/refit.json`, and the front is
searched again under predictors that know these networks, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter, ValidationError

from edgenas.errors import RunFolderError, explained
from edgenas.files import read_json, write_json
from edgenas.latency.table import LatencyRow, LatencyTable
from edgenas.runs.folder import Run
from edgenas.stages.first_predictions import FirstPrediction

FILE = "verify/refit.json"
AGAIN = "delete it, and the search goes on without it"


def refits(run: Run) -> int:
    """How often predictors were refitted on what `verify` measured."""
    return int(_read(run).get("count", 0))


def refitted(run: Run, table: LatencyTable) -> LatencyTable:
    """A device's table with the rows that `verify` measured in its setting; the table itself where there are none."""
    kept = _kept(run, table)
    return table if kept is None else table.extended(kept["rows"])


def earlier_predictions(run: Run, table: LatencyTable) -> tuple[FirstPrediction, ...]:
    """Return what was predicted of the networks of earlier fronts before they were measured in the table's setting."""
    kept = _kept(run, table)
    return () if kept is None else kept["predictions"]


def _kept(run: Run, table: LatencyTable) -> dict[str, Any] | None:
    kept: dict[str, Any] | None = _read(run).get("devices", {}).get(table.identity.device)
    # Another runtime, graph variant or recipe since: what was measured then says nothing now.
    return None if kept is None or kept["identity"] != asdict(table.identity) else kept


def keep_measured(
    run: Run,
    tables: Mapping[str, LatencyTable],
    rows: Mapping[str, Sequence[LatencyRow]],
    predictions: Mapping[str, Sequence[FirstPrediction]],
    *,
    anew: bool = False,
) -> None:
    """Add a front's rows to those of earlier ones.

    Args:
        run: being verified.
        tables: of its devices.
        rows: of the networks measured, by device.
        predictions: of these and of earlier fronts' networks, made before they were measured, by device.
        anew: leave out those of earlier fronts: the machine is another one by now.
    """
    devices = {}
    for name, table in tables.items():
        known = {row.name: row for row in table.rows}
        before = [] if anew else [row for row in refitted(run, table).rows if known.get(row.name) != row]
        merged = {row.name: row for row in (*before, *rows[name])}
        devices[name] = {
            "identity": asdict(table.identity),
            "rows": [asdict(row) for row in merged.values()],
            "predictions": [asdict(one) for one in predictions[name]],
        }
    write_json(run.folder / FILE, {"count": refits(run) + 1, "devices": devices})


def _read(run: Run) -> dict[str, Any]:
    path = run.folder / FILE
    if not path.exists():
        return {}
    found = read_json(path, AGAIN)
    try:
        count = TypeAdapter(int).validate_python(found["count"], strict=True)
        rows = TypeAdapter(dict[str, dict[str, Any]]).validate_python(found["devices"])
        devices = {
            name: {
                "identity": kept["identity"],
                "rows": tuple(TypeAdapter(list[LatencyRow]).validate_python(kept["rows"])),
                "predictions": TypeAdapter(tuple[FirstPrediction, ...]).validate_python(kept["predictions"]),
            }
            for name, kept in rows.items()
        }
    except (KeyError, ValueError) as error:
        said = explained(error.errors()) if isinstance(error, ValidationError) else f"missing or wrong: {error}"
        raise RunFolderError(f"{path} is damaged ({said}): {AGAIN}") from None
    return {"count": count, "devices": devices}
