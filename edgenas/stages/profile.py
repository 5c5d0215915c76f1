"""Stage profile: measure each device, fit its latency predictor, score it on networks it has not seen."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from edgenas.deploy.onnx.exporter import EXPORTER_VERSION
from edgenas.errors import TableError
from edgenas.latency.device import Device
from edgenas.latency.predictor import LatencyPredictor
from edgenas.latency.predictor_score import score_predictor
from edgenas.latency.table import LatencyTable, find_table
from edgenas.profiling.measurement import PROCESSES
from edgenas.profiling.session import measure_networks, profile
from edgenas.profiling.timing_plan import Plan, distinct_blocks
from edgenas.profiling.transport import Transport
from edgenas.progress import Progress
from edgenas.records.latency import BLOCK
from edgenas.records.profile import PlannedRows, PredictorScore, ProfileRecord
from edgenas.runs.run import Run
from edgenas.space.space import ClassifierSpace
from edgenas.stages.devices.device_graphs import Graphs, device_graphs, timing_export
from edgenas.stages.devices.device_latencies import base_predictor
from edgenas.stages.devices.fastest_variant import choose_variant, variant_record
from edgenas.stages.devices.profile_plan import ProfilePlans

SCORED_NETWORKS = 10
"""Networks of a table from elsewhere from which its predictor can be scored."""
ENOUGH_MAPE = 0.05
"""Error on unseen networks above which a carried-over predictor is not accurate enough."""


@dataclass(frozen=True)
class DeviceProfile:
    """The result of the stage for one device.

    Attributes:
        score: score of its predictor; None where too few networks are measured for one.
        note: how its latencies are predicted, and how well.
        planned: numbers of timed blocks and networks; None for a device that is represented by a table.
    """

    score: PredictorScore | None
    note: str
    planned: PlannedRows | None = None


def profile_devices(run: Run, progress: Progress) -> ProfileRecord:
    """Measure every device of the run and fit its predictor; predictors of other devices are fitted on their tables.

    Rows, tables and predictors are written as they are made, so that a stopped profile resumes.

    Raises:
        TableError: `profile.base` or a device's table is no table, or lacks blocks that the space's networks have.
        ConfigError: the minutes are too few for the least that a predictor needs.
        MeasurementError: a device could not run a block or network.
    """
    devices, seed = run.devices, run.config.seed
    base = base_predictor(run.networks, run.config.profile.base)
    variant = choose_variant(run, progress)
    plans = ProfilePlans(run.networks, run.config.profile, seed)
    profiles: dict[str, DeviceProfile] = {}
    for name, device in devices.all.items():
        folder = run.folder / "latency" / name
        if device.is_measured:
            graphs = device_graphs(device, devices.measured.values(), variant)
            profiler = DeviceProfiler(plans, device, devices.transport(name), graphs, base, folder, progress)
            profiles[name] = profiler.profile()
        else:
            profiles[name] = _profile_by_table(run.networks, name, devices.tables[name], folder, seed)
    return ProfileRecord(
        planned={name: profile.planned for name, profile in profiles.items() if profile.planned},
        predictors={name: profile.score and profile.score.quality for name, profile in profiles.items()},
        notes=tuple(profile.note for profile in profiles.values()),
        graph_variant=variant,
        graph_variants=variant_record(run.folder),
    )


@dataclass(frozen=True)
class DeviceProfiler:
    """Measures one device and fits its latency predictor.

    Attributes:
        plans: what can be timed.
        device: the device.
        transport: the way to it.
        graphs: graph settings of its files.
        base: predictor of another device that this device's predictor starts from; None where the config names none.
        folder: folder for rows, table and predictor.
        progress: called with the current step, steps done and in all.
    """

    plans: ProfilePlans
    device: Device
    transport: Transport
    graphs: Graphs
    base: LatencyPredictor | None
    folder: Path
    progress: Progress

    def profile(self) -> DeviceProfile:
        """Time blocks and networks, then fit and score the predictor.

        Raises:
            ConfigError, MeasurementError: see `profile_devices`.
        """
        space, plan = self.plans.space, self._plan()
        table = self._table(plan)
        LatencyPredictor(space).fit(table, self.base).save(self.folder / "predictor.json")
        score = score_predictor(space, table, seed=self.plans.seed, base=self.base)
        score.write(self.folder / "score.json")
        source = self.plans.config.base
        name = self.device.name
        note = _fitted(name, plan, score) if source is None else _carried_over(name, score, source)
        return DeviceProfile(score, note, PlannedRows(blocks=len(plan.blocks), networks=len(plan.networks)))

    def _plan(self) -> Plan:
        """Return the plan of the timing; with a base, its networks show best how the device differs."""
        minutes, plan = self.plans.config.minutes, self.plans.whole
        if minutes is not None:
            plan = self.plans.within(minutes, *self._ends_us())
        return plan if self.base is None else self.plans.informative(plan, self.base)

    def _ends_us(self) -> tuple[float, float]:
        """Return latencies of the smallest and the largest network, timed once and kept in the folder."""
        space = self.plans.space
        self.folder.mkdir(parents=True, exist_ok=True)
        networks = {arch.id: space.unroll(arch) for arch in (space.smallest, space.largest)}
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".models.") as temporary:
            measured = measure_networks(
                timing_export(self.graphs, self.progress)(networks, Path(temporary), None),
                self.device,
                rounds=PROCESSES,
                seed=self.plans.seed,
                out=self.folder / "ends.jsonl",
                transport=self.transport,
                quantiser_recipe=self.graphs.quantiser_recipe,
                progress=lambda _, done, total: self.progress("timing the smallest and the largest", done, total),
            )
        return measured[space.smallest.id].p50_us, measured[space.largest.id].p50_us

    def _table(self, plan: Plan) -> LatencyTable:
        return profile(
            self.plans.space,
            plan,
            self.device,
            export=timing_export(self.graphs, self.progress),
            exporter_version=EXPORTER_VERSION,
            variant=self.graphs.variant,
            quantiser_recipe=self.graphs.quantiser_recipe,
            rounds=self.plans.config.rounds,
            seed=self.plans.seed,
            folder=self.folder,
            transport=self.transport,
            progress=self.progress,
        )


def _profile_by_table(space: ClassifierSpace, device: str, source: str, folder: Path, seed: int) -> DeviceProfile:
    """Fit the predictor of a device that is not measured on its table; it is scored if the table has enough networks.

    Raises:
        TableError: the table lacks blocks that the space's networks have.
    """
    table = _of_space(find_table(source), space)
    try:
        predictor = LatencyPredictor(space).fit(table)
        predictor.predict([space.smallest, space.largest])
    except TableError as error:
        raise TableError(f"table {source}: {error}, or search a space whose networks it has") from None
    # A copy, since the table that the config names may change.
    table.save(folder)
    predictor.save(folder / "predictor.json")
    note = f"{device}: nothing is measured; its latencies are predicted from table {source}"
    if len(table.networks(space.structure_id, space.num_classes)) < SCORED_NETWORKS:
        return DeviceProfile(None, f"{note}: sums of blocks, of unknown error")
    score = score_predictor(space, table, seed=seed)
    score.write(folder / "score.json")
    return DeviceProfile(score, f"{note}: {score.mape:.1%} off on its networks")


def _of_space(table: LatencyTable, space: ClassifierSpace) -> LatencyTable:
    """Return the table without blocks that the space lacks, if it has all others: no block is regressed then."""
    needed = {block.key for block in distinct_blocks(space)}
    if not needed <= table.blocks().keys():
        return table
    return replace(table, rows=tuple(row for row in table.rows if row.kind != BLOCK or row.key in needed))


def _fitted(device: str, plan: Plan, score: PredictorScore) -> str:
    """Describe the measurements, and the predictor's error on unseen networks."""
    repeats = "" if score.repeat_noise is None else f", where the device itself repeats to {score.repeat_noise:.1%}"
    return (
        f"{device}: {len(plan.blocks)} blocks and {len(plan.networks)} networks; networks held out are predicted to "
        f"{score.mape:.1%} in the mean, {score.within_5:.0%} of them within 5%{repeats}"
    )


def _carried_over(device: str, score: PredictorScore, base: str) -> str:
    """Describe the error of a carried-over predictor, and whether more networks are needed."""
    note = f"{device}: carried over from {base} by {score.n_test} networks: {score.mape:.1%} off on unseen ones"
    if score.mape <= ENOUGH_MAPE:
        return note
    return f"{note}, which is not enough: measure more (profile.networks), or the blocks, too (no profile.base)"
