"""The space of the networks of a latency table, with the number of classes that they share."""

from __future__ import annotations

from edgenas.errors import TableError
from edgenas.latency.table import LatencyTable
from edgenas.records.latency import NETWORK
from edgenas.space.space import ClassifierSpace, SearchSpace


def table_space(space: SearchSpace, table: LatencyTable) -> ClassifierSpace:
    """Return the space with the number of classes that all of a table's networks of it share.

    Raises:
        TableError: there are no such networks, or they differ.
    """
    rows = [row for row in table.rows if row.kind == NETWORK and row.space == space.structure_id]
    counts = sorted({row.num_classes for row in rows})
    if len(counts) != 1:
        content = f"networks of {', '.join(map(str, counts))} classes" if counts else "no network of this space"
        raise TableError(f"num_classes: the table has {content}; fix it with LatencyPredictor(space.with_classes(n))")
    return space.with_classes(counts[0])
