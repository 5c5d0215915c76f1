"""Networks of fronts that latency predictors are refitted on."""

from __future__ import annotations

from edgenas.records.latency import Identity, LatencyRow
from edgenas.records.record import Count, Record
from edgenas.records.verify import FirstPrediction


class MeasuredRows(Record):
    """Networks of fronts that were measured on one device in one setting.

    Attributes:
        identity: the setting, that of the device's table.
        rows: their measured latency, the newest row of each network.
        predictions: their predictions from before they were measured.
    """

    identity: Identity
    rows: tuple[LatencyRow, ...]
    predictions: tuple[FirstPrediction, ...]


class RefitRecord(Record):
    """latency/refit.json: measurements of fronts, which latency predictors are refitted on.

    Attributes:
        count: number of times that predictors were refitted.
        devices: the measured networks that they were refitted on, by device.
    """

    count: Count
    devices: dict[str, MeasuredRows]
