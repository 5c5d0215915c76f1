"""The number of classes that the networks of a latency table share."""

from __future__ import annotations

from edgenas.errors import TableError
from edgenas.latency.table import NETWORK, LatencyTable
from edgenas.space.space import SearchSpace


def table_classes(space: SearchSpace, table: LatencyTable) -> int:
    """Return the number of classes that all of a table's networks of `space` share.

    Raises:
        TableError: there are no such networks, or they differ.
    """
    rows = [row for row in table.rows if row.kind == NETWORK and row.space == space.structure_id]
    counts = sorted({row.num_classes for row in rows})
    if len(counts) != 1:
        content = f"networks of {', '.join(map(str, counts))} classes" if counts else "no network of this space"
        raise TableError(f"num_classes: the table has {content}; pass LatencyPredictor(space, num_classes=…)")
    return counts[0]
