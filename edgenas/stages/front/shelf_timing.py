"""The networks of the shelf on the run's devices: timed like the front and compared with the same budgets.

Latency does not depend on weights, so the files have random ones, and no network is trained that is over a budget.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from edgenas.profiling.verdict import worst
from edgenas.progress import Progress
from edgenas.records.export import TimedLatency
from edgenas.records.shelf import ShelfRecord, TimedNetwork
from edgenas.runs.run import Run
from edgenas.runs.shelf import VERIFIED
from edgenas.space.arch import Arch, as_file_name
from edgenas.space.space import ClassifierSpace
from edgenas.stages.budgets.computed_costs import CostTable
from edgenas.stages.budgets.limits import Limits
from edgenas.stages.devices.device_graphs import device_graphs, timing_export
from edgenas.stages.devices.judged_latency import timed_latency
from edgenas.stages.devices.measuring import SessionTimer, session_timer

LOGGER = logging.getLogger(__name__)
ROWS = "verify/shelf"
"""Folder of the timer's rows, within the run folder."""
HOPELESS = 2.0
"""Networks are not timed if the sum of their blocks' latencies is above this multiple of a budget."""


def time_shelf(run: Run, limits: Limits, progress: Progress) -> None:
    """Time the networks of a run's shelf on every measured device and write verify/shelf.json; nothing without any.

    Args:
        run: profiled.
        limits: the budgets that its front is compared with.
        progress: called with the current step, steps done and in all.

    Raises:
        MeasurementError: a device cannot run one of the networks.
        RunFolderError: a row of sessions.jsonl, or a file of the shelf, is damaged.
    """
    if not run.shelf.spaces:
        return
    unmeasured = [str(budget) for budget in limits.budgets if budget.device in run.devices.tables]
    if unmeasured:
        note = f"the shelf is empty: no network of it can be timed for the budget {unmeasured[0]}, which is of a table"
        record = ShelfRecord(budgets=limits.budgets, networks=(), notes=(note,))
    else:
        spaces = {name: space.with_classes(run.num_classes) for name, space in run.shelf.spaces.items()}
        record = _ShelfTimer(run, limits, spaces, progress).record()
    for note in record.notes:
        LOGGER.warning("note: %s", note)
    record.write(run.folder / VERIFIED)


def timed_shelf(run: Run) -> ShelfRecord | None:
    """Return the networks of a verified run's shelf as they were timed; None where it has none.

    Raises:
        RunFolderError, UserError: the record is missing or damaged.
    """
    if not run.shelf.spaces:
        return None
    remedy = f"delete {run.result_path('verify')} and run `edgenas verify {run.folder}`"
    return ShelfRecord.read(run.folder / VERIFIED, remedy, run.spaces)


@dataclass(frozen=True)
class _ShelfTimer:
    """Times the networks of a shelf.

    Attributes:
        run: the run.
        limits: the budgets.
        spaces: the spaces of the networks, by name.
        progress: called with the current step, steps done and in all.
    """

    run: Run
    limits: Limits
    spaces: Mapping[str, ClassifierSpace]
    progress: Progress

    def record(self) -> ShelfRecord:
        archs = [arch for name in self.spaces for arch in self._worth_timing(name)]
        latency = {device: self._latency(device, archs) for device in self.run.devices.measured}
        networks = tuple(
            self._network(arch, {device: timed[arch] for device, timed in latency.items()}) for arch in archs
        )
        return ShelfRecord(budgets=self.limits.budgets, networks=networks, notes=tuple(_notes(networks)))

    def _worth_timing(self, name: str) -> list[Arch]:
        """Return a network at all resolutions, smallest first, except those that are hopelessly slow; at least one."""
        space = self.spaces[name]
        first, *others = (space.arch(resolution, space.largest.stages) for resolution in space.resolution)
        return [first, *(arch for arch in others if not self._is_hopeless(arch))]

    def _is_hopeless(self, arch: Arch) -> bool:
        specs = self.spaces[arch.network].unroll(arch)
        return any(
            # NaN, where the profile does not cover a block, is not greater.
            self.limits.predictors[budget.device].blocks_.estimate_us(specs).sum() > HOPELESS * budget.limit
            for budget in self.limits.budgets
            if budget.device is not None
        )

    def _latency(self, device: str, archs: Sequence[Arch]) -> dict[Arch, TimedLatency]:
        """Return the latency of networks on a device, judged by the budgets of that device."""
        measured = self.run.devices.measured
        graphs = device_graphs(measured[device], measured.values(), self.limits.costs.variant)
        timer = session_timer(self.run, device, "measuring the shelf", self.progress, graphs.quantiser_recipe)
        budgets = [budget for budget in self.limits.budgets if budget.device == device]
        latency: dict[Arch, TimedLatency] = {}
        for group in _sessions(archs, together=timer.transport.carried):
            # In the run folder, where the next start clears away what a kill leaves.
            with tempfile.TemporaryDirectory(dir=self.run.folder, prefix=".shelf.") as folder:
                named = {arch.id: self.spaces[arch.network].unroll(arch) for arch in group}
                files = timing_export(graphs, self.progress)(named, Path(folder), None)
                session = timer.time(files, self._rows(timer, group))
            latency |= {arch: timed_latency(session.measured[arch.id], session, budgets) for arch in group}
        return latency

    def _rows(self, timer: SessionTimer, group: Sequence[Arch]) -> Path:
        return self.run.folder / ROWS / f"{timer.device.name}-{as_file_name(group[0].network)}.jsonl"

    def _network(self, arch: Arch, latency: Mapping[str, TimedLatency]) -> TimedNetwork:
        over = [*self._computed_over(arch), *_measured_over(latency)]
        verdicts = [timed.verdict for timed in latency.values()]
        return TimedNetwork(
            arch=arch, latency=dict(latency), verdict="over" if over else worst(verdicts), over=tuple(over)
        )

    def _computed_over(self, arch: Arch) -> Iterator[str]:
        """Yield the budgets of MACs and bytes that a network is over, in words."""
        space = self.spaces[arch.network]
        costs = CostTable(space, self.limits.costs.variant, self.limits.costs.precisions)
        for budget in self.limits.budgets:
            value = 0.0 if budget.device else float(costs(budget.quantity, space.encode([arch]))[0])
            if value > budget.limit:
                yield f"{budget.quantity.label} {budget.quantity.unit.format(value)}, budget {budget.words}"


def _sessions(archs: Iterable[Arch], *, together: bool) -> list[list[Arch]]:
    """Return the networks that are timed in one session: those of one name, which fit into memory together.

    Args:
        archs: the networks, those of one name together.
        together: time all in one session, since each session is carried to the device by hand.
    """
    return [list(group) for _, group in groupby(archs, key=lambda arch: together or arch.network)]


def _measured_over(latency: Mapping[str, TimedLatency]) -> Iterator[str]:
    for device, timed in latency.items():
        if timed.verdict == "over" and timed.value_us is not None and timed.limit_us is not None:
            yield f"{timed.limited} on {device} {timed.value_us / 1e3:.3f} ms, budget {timed.limit_us / 1e3:.3f} ms"


def _notes(networks: Sequence[TimedNetwork]) -> Iterator[str]:
    """Yield a note where networks were timed and all of them are over a budget."""
    if networks and not any(network.eligible for network in networks):
        nearest = min(networks, key=lambda network: sum(timed.p50_us for timed in network.latency.values()))
        reason = "; ".join(nearest.over) or "not significantly within the budget"
        yield (
            f"the shelf is empty: none of its {len(networks)} networks is within every budget, not even the fastest, "
            f"{nearest.arch.id} ({reason})"
        )
