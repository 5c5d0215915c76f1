"""Networks with random weights on the run's devices, timed like the front: those of the shelf, and candidates.

Latency does not depend on weights, so the files have random ones, and no network is trained that is over a budget.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgenas.errors import MeasurementError
from edgenas.profiling.verdict import worst
from edgenas.progress import Progress
from edgenas.records.export import TimedLatency
from edgenas.records.paths import SHELF
from edgenas.records.shelf import ShelfRecord, TimedNetwork
from edgenas.runs.run import Run
from edgenas.space.arch import Arch
from edgenas.space.space import ClassifierSpace
from edgenas.stages.budgets.computed_costs import CostTable
from edgenas.stages.budgets.limits import Limits
from edgenas.stages.devices.device_graphs import device_graphs, timing_export
from edgenas.stages.devices.judged_latency import timed_latency
from edgenas.stages.devices.measuring import session_timer

LOGGER = logging.getLogger(__name__)
ROWS = "verify/shelf"
"""Folder of the timer's rows, within the run folder."""
CANDIDATE_ROWS = "finetune/measured"
"""The same for candidates of the run's space."""
HOPELESS = 1.5
"""Networks are not timed if the sum of their blocks' latencies is above this multiple of a budget."""
TOGETHER = 3
"""Resolutions of each network that are timed in one session. Larger ones are more accurate, so they come first."""


def time_shelf(run: Run, limits: Limits, progress: Progress) -> None:
    """Time the networks of a run's shelf on every measured device and write verify/shelf.json; nothing without any.

    Args:
        run: profiled.
        limits: the budgets that its front is compared with.
        progress: called with the current step, steps done and in all.

    Raises:
        MeasurementError: a device cannot run a network that the config names; installed ones are left out with a note.
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
        record = _NetworkTimer(run, limits, spaces, "measuring the shelf", ROWS, progress).record()
    for note in record.notes:
        LOGGER.warning("note: %s", note)
    record.write(run.folder / SHELF)


def timed_shelf(run: Run) -> ShelfRecord | None:
    """Return the networks of a verified run's shelf as they were timed; None where it has none.

    Raises:
        RunFolderError, UserError: the record is missing or damaged.
    """
    if not run.shelf.spaces:
        return None
    remedy = f"delete {run.result_path('verify')} and run `edgenas verify {run.folder}`"
    return ShelfRecord.read(run.folder / SHELF, remedy, run.spaces)


def time_candidates(run: Run, limits: Limits, archs: Sequence[Arch], progress: Progress) -> tuple[TimedNetwork, ...]:
    """Return networks of the run's space as they are timed now; none where a device is out of reach or not measured.

    Args:
        run: verified.
        limits: the budgets that they are compared with.
        archs: the networks.
        progress: called with the current step, steps done and in all.

    Raises:
        MeasurementError, RunFolderError: see `time_shelf`.
    """
    if not archs or not run.devices.in_reach:
        return ()
    timer = _NetworkTimer(run, limits, {"": run.networks}, "measuring candidates", CANDIDATE_ROWS, progress)
    return tuple(timer.timed(archs))


@dataclass(frozen=True)
class _NetworkTimer:
    """Times networks with random weights.

    Attributes:
        run: the run.
        limits: the budgets.
        spaces: the spaces of the networks, by the names of pretrained networks; by an empty one for the run's own.
        label: what is done, for the progress.
        rows: folder of the timer's rows, within the run folder.
        progress: called with the current step, steps done and in all.
    """

    run: Run
    limits: Limits
    spaces: Mapping[str, ClassifierSpace]
    label: str
    rows: str
    progress: Progress

    def record(self) -> ShelfRecord:
        """Return all networks that were timed, with their verdicts."""
        notes: list[str] = []
        if self.run.devices.carried:
            # Results are brought back from such a device by hand, so there is one session.
            timed = self.timed([arch for name in self.spaces for arch in self._candidates(name)])
        else:
            timed, notes = self._all()
        networks = tuple(sorted(timed, key=lambda network: network.arch))
        return ShelfRecord(budgets=self.limits.budgets, networks=networks, notes=(*notes, *_notes(networks)))

    def _all(self) -> tuple[list[TimedNetwork], list[str]]:
        """Time all networks; return those that a device cannot run as notes, if no config names them."""
        try:
            return self._largest_that_fit(self.spaces), []
        except MeasurementError:
            if self.run.config.shelf != "auto":
                raise
        timed, notes = list[TimedNetwork](), list[str]()
        for name in self.spaces:
            try:
                timed += self._largest_that_fit([name])
            except MeasurementError as error:
                notes.append(f"{name} is left out of the shelf, because a device could not run it: {error}")
        return timed, notes

    def _largest_that_fit(self, names: Iterable[str]) -> list[TimedNetwork]:
        """Return networks at their largest resolutions: several at a time, until one of each is within every budget."""
        left, timed = {name: self._candidates(name) for name in names}, list[TimedNetwork]()
        while left:
            timed += self.timed([arch for archs in left.values() for arch in archs[:TOGETHER]])
            fitting = {network.arch.network for network in timed if network.eligible}
            smaller = {name: archs[TOGETHER:] for name, archs in left.items() if name not in fitting}
            left = {name: archs for name, archs in smaller.items() if archs}
        return timed

    def _candidates(self, name: str) -> list[Arch]:
        """Return a network at all resolutions that are not hopelessly slow, at least at one; the largest first."""
        space = self.spaces[name]
        archs = [space.arch(resolution, space.largest.stages) for resolution in reversed(space.resolution)]
        return [arch for arch in archs if not self._is_hopeless(arch)] or archs[-1:]

    def _is_hopeless(self, arch: Arch) -> bool:
        specs = self.spaces[arch.network].unroll(arch)
        return any(
            # NaN, where the profile does not cover a block, is not greater.
            self.limits.predictors[budget.device].blocks_.estimate_us(specs).sum() > HOPELESS * budget.limit
            for budget in self.limits.budgets
            if budget.device is not None
        )

    def timed(self, archs: Sequence[Arch]) -> list[TimedNetwork]:
        """Time networks together on each measured device."""
        latency = {device: self._latency(device, archs) for device in self.run.devices.measured}
        return [self._network(arch, {device: timed[arch] for device, timed in latency.items()}) for arch in archs]

    def _latency(self, device: str, archs: Sequence[Arch]) -> dict[Arch, TimedLatency]:
        """Return the latency of networks on a device, judged by the budgets of that device."""
        measured = self.run.devices.measured
        graphs = device_graphs(measured[device], measured.values(), self.limits.costs.variant)
        timer = session_timer(self.run, device, self.label, self.progress, graphs.quantiser_recipe)
        budgets = [budget for budget in self.limits.budgets if budget.device == device]
        # In the run folder, where the next start clears away what a kill leaves.
        with tempfile.TemporaryDirectory(dir=self.run.folder, prefix=".shelf.") as folder:
            named = {arch.id: self.spaces[arch.network].unroll(arch) for arch in archs}
            files = timing_export(graphs, self.progress)(named, Path(folder), None)
            session = timer.time(files, self.run.folder / self.rows / f"{device}.jsonl")
        return {arch: timed_latency(session.measured[arch.id], session, budgets) for arch in archs}

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


def _measured_over(latency: Mapping[str, TimedLatency]) -> Iterator[str]:
    for device, timed in latency.items():
        if timed.verdict == "over" and timed.value_us is not None and timed.limit_us is not None:
            yield f"{timed.limited} on {device} {timed.value_us / 1e3:.3f} ms, budget {timed.limit_us / 1e3:.3f} ms"


def _notes(networks: Sequence[TimedNetwork]) -> Iterator[str]:
    """Yield a note where networks were timed and all of them are over a budget."""
    if networks and not any(network.eligible for network in networks):
        nearest = min(networks, key=lambda network: sum(timed.p50_us for timed in network.latency.values()))
        reason = "; ".join(nearest.over) or "not significantly within the budget"
        yield (f"no network of the shelf is within every budget; the fastest is {nearest.arch.id} ({reason})")
