"""Space of a latency table's networks, with their number of classes."""

from __future__ import annotations

from edgenas.errors import TableError
from edgenas.latency.table import LatencyTable
from edgenas.records.latency import NETWORK
from edgenas.space.space import ClassifierSpace, SearchSpace


def table_space(space: SearchSpace, table: LatencyTable) -> ClassifierSpace:
    """Return the space with the number of classes of the table's networks of this space.

    Raises:
        TableError: the table has no networks of this space, or their numbers of classes differ.
    """
    rows = [row for row in table.rows if row.kind == NETWORK and row.space == space.structure_id]
    counts = sorted({row.num_classes for row in rows})
    if len(counts) != 1:
        content = f"networks of {', '.join(map(str, counts))} classes" if counts else "no network of this space"
        raise TableError(f"num_classes: the table has {content}; fix it with LatencyPredictor(space.with_classes(n))")
    return space.with_classes(counts[0])
