"""The latencies of a profiled run: tables and predictors, and the networks that were measured since.

Where a network of the front misses a budget, its measurements are kept in `latency/refit.json`, and the space is
searched again with predictors that were fitted on these networks, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from edgenas.errors import TableError
from edgenas.latency.predictor import LatencyPredictor
from edgenas.latency.table import LatencyTable, find_table
from edgenas.records.latency import LatencyRow
from edgenas.records.paths import REFIT, RESULTS
from edgenas.records.profile import ProfileRecord
from edgenas.records.refit import MeasuredRows, RefitRecord
from edgenas.records.verify import FirstPrediction
from edgenas.runs.devices import RunDevices
from edgenas.runs.run import Run
from edgenas.space.graph_variant import GraphVariant
from edgenas.space.space import ClassifierSpace
from edgenas.stages.devices.matching_tables import require_classes, require_networks, require_setting

REMEDY = "continue without the earlier measurements"


@dataclass(frozen=True)
class DeviceLatencies:
    """The measured and predicted latencies of a profiled run.

    Attributes:
        folder: the run folder.
        variant: graph variant of the fp32 files that were measured.
        tables: latency tables of the profile, by device.
        profiled: predictors that were fitted on these tables alone, by device.
        refit: networks that were measured since, which predictors are refitted on.
        base: name of the table of another device that predictors start from; None where the config names none.
    """

    folder: Path
    variant: GraphVariant
    tables: Mapping[str, LatencyTable]
    profiled: Mapping[str, LatencyPredictor]
    refit: RefitRecord
    base: str | None = None

    @property
    def refits(self) -> int:
        """Return the number of times that predictors were refitted."""
        return self.refit.count

    @cached_property
    def predictors(self) -> dict[str, LatencyPredictor]:
        """The predictors by device, fitted on everything that was measured."""
        return {device: self._predictor(device) for device in self.profiled}

    def check(self, devices: RunDevices, space: ClassifierSpace) -> None:
        """Refuse tables and predictors that are not of a run's devices, space and classes.

        Raises:
            TableError: one is of another setting, space or number of classes.
        """
        measured = devices.measured
        try:
            for name, device in measured.items():
                table, kind = self.tables[name], devices.reach.stated_kind(device)
                require_setting(table, device, kind, measured.values(), self.variant)
                require_networks(table, name, space)
            for name, predictor in self.profiled.items():
                require_classes(predictor, name, space.num_classes)
        except TableError as error:
            remedy = f"delete {self.folder / RESULTS['profile']} and run `edgenas profile {self.folder}`"
            raise TableError(f"{self.folder}: {error}: {remedy}") from None

    def rows(self, device: str) -> tuple[LatencyRow, ...]:
        """Return the rows that were measured since the profile, in the setting of the device's table."""
        measured = self._measured(device)
        return () if measured is None else measured.rows

    def first_predictions(self, device: str) -> tuple[FirstPrediction, ...]:
        """Return predictions of networks of earlier fronts, made before they were measured in the table's setting."""
        measured = self._measured(device)
        return () if measured is None else measured.predictions

    def refitted(
        self,
        rows: Mapping[str, Sequence[LatencyRow]],
        predictions: Mapping[str, Sequence[FirstPrediction]],
        *,
        discard_earlier: bool = False,
    ) -> DeviceLatencies:
        """Return the latencies with the rows of a front added to those of earlier ones.

        Args:
            rows: rows of the measured networks, by device.
            predictions: predictions of these and of earlier fronts' networks, made before measuring, by device.
            discard_earlier: leave out rows of earlier fronts, since the machine's speed has changed.
        """
        devices = {}
        for device, new in rows.items():
            merged = {row.name: row for row in (*(() if discard_earlier else self.rows(device)), *new)}
            identity, first = self.tables[device].identity, tuple(predictions[device])
            devices[device] = MeasuredRows(identity=identity, rows=tuple(merged.values()), predictions=first)
        return replace(self, refit=RefitRecord(count=self.refits + 1, devices=devices))

    def _measured(self, device: str) -> MeasuredRows | None:
        measured = self.refit.devices.get(device)
        # With another runtime, graph variant or recipe since, earlier measurements do not compare.
        return None if measured is None or measured.identity != self.tables[device].identity else measured

    def _predictor(self, device: str) -> LatencyPredictor:
        profiled, rows = self.profiled[device], self.rows(device)
        if not rows:
            return profiled
        space = profiled.space_
        return LatencyPredictor(space).fit(self.tables[device].extended(rows), base_predictor(space, self.base))


def base_predictor(space: ClassifierSpace, base: str | None) -> LatencyPredictor | None:
    """Return the predictor of another device that a run's predictors start from; None without a base.

    Args:
        space: the run's space, with its number of classes.
        base: `profile.base` of the config, the table of that device.

    Raises:
        TableError: the table lacks blocks that the space's networks have.
    """
    if base is None:
        return None
    table = find_table(base)
    try:
        predictor = LatencyPredictor(space).fit(table)
        predictor.predict([space.smallest, space.largest])
    except TableError as error:
        raise TableError(f"profile.base {base}: {error}, or leave profile.base out") from None
    return predictor


def read_latencies(run: Run) -> DeviceLatencies:
    """Read the latencies of a profiled run.

    Raises:
        RunFolderError: the run was not profiled yet, or a record is damaged.
        TableError: a table or predictor is damaged.
    """
    record, folder = run.result(ProfileRecord), run.folder / "latency"
    return DeviceLatencies(
        run.folder,
        record.graph_variant,
        {device: LatencyTable.load(folder / device) for device in record.predictors},
        {device: LatencyPredictor.load(folder / device / "predictor.json", run.space) for device in record.predictors},
        read_refit(run),
        run.config.profile.base,
    )


def read_refit(run: Run) -> RefitRecord:
    """Return the networks that predictors are refitted on; a record of none before the first refit.

    Raises:
        RunFolderError: the record is damaged.
    """
    path = run.folder / REFIT
    return RefitRecord.read(path, REMEDY, run.space) if path.exists() else RefitRecord(count=0, devices={})
