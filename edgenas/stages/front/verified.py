"""The record of a measured front: every network with its files, predictions, measurements and verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgenas.accuracy.scores import AccuracySource
from edgenas.config.run_config import RunConfig
from edgenas.profiling.verdict import worst
from edgenas.records.verify import (
    FirstPrediction,
    MeasuredLatency,
    MeasuredNetwork,
    NetworkLatency,
    PredictedLatency,
    VerifyRecord,
)
from edgenas.search.gaussian_process import COVERAGE
from edgenas.space.arch import Arch
from edgenas.stages.budgets.limits import Limits
from edgenas.stages.devices.first_predictions import predicted_latency
from edgenas.stages.front.candidate import Candidate
from edgenas.stages.front.choice import choice_words
from edgenas.stages.front.measured_front import MeasuredFront


@dataclass(frozen=True)
class FrontRecorder:
    """Describes a measured front as a record.

    Attributes:
        config: the run's config.
        front: the measured front.
        limits: the budgets, and the predictors of every device.
        predictions: predictions of all measured networks, made before they were measured, by device.
        source: source of the accuracies.
    """

    config: RunConfig
    front: MeasuredFront
    limits: Limits
    predictions: Mapping[str, Sequence[FirstPrediction]]
    source: AccuracySource

    def record(self, ordered: Sequence[Candidate], refits: int, notes: tuple[str, ...]) -> VerifyRecord:
        """Return the record of the stage.

        Args:
            ordered: candidates in the order in which they are tried; the first one is chosen.
            refits: number of times that predictors were refitted.
            notes: descriptions of devices that were not measured.
        """
        chosen, search = ordered[0], self.config.search
        right = [candidate.files.right for candidate in ordered if candidate.files.right is not None]
        return VerifyRecord(
            front=tuple(map(self._network, self.front.candidates)),
            candidates=tuple(candidate.arch for candidate in ordered),
            chosen=chosen.arch,
            verdict=chosen.verdict(self.front.budgets),
            val_top1=chosen.deployed_top1,
            model=chosen.files.model,
            chosen_by=search.choose,
            chosen_as=choice_words(search, self.front.objectives),
            refits=refits,
            first_predictions={device: tuple(made) for device, made in self.predictions.items()},
            notes=notes,
            comparison=self.source.comparison(right),
        )

    def _network(self, candidate: Candidate) -> MeasuredNetwork:
        files, reason = candidate.files, self.front.dropped.get(candidate.arch)
        interval = self._interval(candidate.arch)
        return MeasuredNetwork(
            arch=candidate.arch,
            val_top1=files.val_top1,
            val_top1_interval=interval,
            val_top1_coverage=COVERAGE if interval else None,
            val_top1_int8=files.int8.val_top1 if files.int8 else None,
            int8=files.int8,
            deployed_top1=candidate.deployed_top1,
            refused=files.refused is not None,
            dropped=reason is not None,
            dropped_because=reason,
            eligible=reason is None and candidate.verdict(self.front.budgets) in ("within", None),
            latency={device: self._latency(candidate, device) for device in self.limits.predictors},
        )

    def _interval(self, arch: Arch) -> tuple[float, float] | None:
        intervals = self.source.interval([arch])
        if intervals is None:
            return None
        low, high = intervals[0].tolist()
        return low, high

    def _latency(self, candidate: Candidate, device: str) -> NetworkLatency:
        predicted, measured = self._predicted(candidate.arch, device), candidate.measured.get(device)
        if measured is None:
            return NetworkLatency(**dict(predicted))
        budgets = [budget for budget in self.front.budgets if budget.device == device]
        return NetworkLatency(
            **dict(predicted),
            **dict(MeasuredLatency.part_of(measured)),
            verdict=worst(judgement.verdict for judgement in candidate.judgements(budgets).values()),
        )

    def _predicted(self, arch: Arch, device: str) -> PredictedLatency:
        for first in self.predictions.get(device, ()):
            if first.arch == arch:
                return first.prediction
        # A refitted predictor may have been fitted on the network; its output is no prediction then.
        return predicted_latency(self.limits.predictors[device], arch, self.config.profile.coverage)
