"""What is fixed when several networks begin to be fine-tuned: the networks, the time of each rung, and their steps."""

from __future__ import annotations

import copy
import shutil
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from edgenas.accuracy.scorer import Scorer
from edgenas.files import file_digest
from edgenas.progress import Progress
from edgenas.records.finetune import CandidatePlan, HalvingPlan
from edgenas.records.paths import PLAN, PLANS, SHELF
from edgenas.records.search import SearchRecord
from edgenas.records.shelf import TimedNetwork
from edgenas.records.train import TrainRecord
from edgenas.records.verify import VerifyRecord
from edgenas.runs.run import Run
from edgenas.runs.stage_costs import spent_on_results
from edgenas.space.arch import Arch
from edgenas.stages.budgets.limits import unchecked_limits
from edgenas.stages.front.shelf_timing import time_candidates, timed_shelf
from edgenas.stages.time_shares import finetuning_seconds
from edgenas.stages.tuning.candidates import Candidates, fewer, shelf_candidates
from edgenas.stages.tuning.rungs import last_count, rung_counts, rung_seconds, rung_steps, whole_seconds
from edgenas.stages.weights.run_accuracy import evaluation_ledger, run_source
from edgenas.stages.weights.standalone_networks import setting_id
from edgenas.stages.weights.tuner import Tuner
from edgenas.supernet.subnet import Subnet
from edgenas.training.setup import compute_device
from edgenas.training.standalone import step_seconds, steps_of

CHOICES = 2
"""Times that candidates are chosen at most, see `Candidates.corrected`."""
PARTS = 4
"""Parts of a batch, one of which is timed first."""
COSTLY_SECONDS = 1.0
"""Time of a step above which no whole one is timed."""
SCORING_SHARE = 1 / 3
"""Time of an image that is scored, as a share of that of one that is trained on: going backward takes twice as long."""
LEAST_TRAINED = 0.5
"""Least share of the time that trains, where validation images are many and the time is short."""
LEAST_EPOCHS = 6.0
"""Epochs of a mean network in the first rung, below which a default number of candidates is reduced."""


def halving_plan(run: Run, trainer: Tuner, progress: Progress) -> HalvingPlan:
    """Return the plan of a run: the one that is written down if it is of this front and these settings, else a new one.

    The plan of earlier settings is kept, since a user may stop and return to it.

    Raises:
        RunFolderError: the file is broken.
    """
    path, setting = run.folder / PLAN, _setting(run, trainer)
    kept, remedy = run.folder / PLANS / setting / path.name, f"run `edgenas finetune {run.folder}`"
    if path.exists() and (plan := HalvingPlan.read(path, remedy, run.spaces)).setting == setting:
        return plan
    if kept.exists():
        plan = HalvingPlan.read(kept, remedy, run.spaces)
    else:
        plan = _new_plan(run, trainer, setting, progress)
        plan.write(kept)
    plan.write(path)
    return plan


def remove_other_plans(run: Run, plan: HalvingPlan) -> None:
    """Remove other plans and their networks, once those of this plan are trained in place of them."""
    for folder in (run.folder / PLANS).iterdir():
        if folder.name != plan.setting:
            shutil.rmtree(folder)


def _setting(run: Run, trainer: Tuner) -> str:
    """Return the digest of what a plan depends on: front, shelf, weights, images and settings."""
    shelf = run.folder / SHELF
    return setting_id(
        {
            "verified": file_digest(run.result_path("verify")),
            "shelf": file_digest(shelf) if shelf.exists() else None,
            "weights": trainer.source.weights,
            "images": trainer.images.digest,
            "settings": run.config.finetune.model_dump(mode="json"),
        }
    )


def _new_plan(run: Run, trainer: Tuner, setting: str, progress: Progress) -> HalvingPlan:
    """Choose candidates, time their steps, and return the plan."""
    began = time.monotonic()
    latency_us = _own_candidates(run, progress) | shelf_candidates(timed_shelf(run), run.shelf.networks)
    archs = list(latency_us)
    times = _step_seconds(trainer, archs, progress)
    available, last = _Time.of(run, trainer, statistics.mean(times.values()), began), last_count(archs)
    if run.config.finetune.candidates is None:
        archs = fewer(archs, available.candidates(len(archs), last))
    counts = rung_counts(len(archs), last)
    seconds = rung_seconds(counts, available.seconds(counts))
    candidates = (
        CandidatePlan(
            arch=arch,
            latency_us=latency_us[arch],
            step_seconds=times[arch],
            steps=rung_steps(seconds, times[arch]),
        )
        for arch in archs
    )
    return HalvingPlan(
        setting=setting,
        rung_networks=counts,
        rung_seconds=seconds,
        candidates=tuple(candidates),
    )


def _own_candidates(run: Run, progress: Progress) -> dict[Arch, dict[str, float]]:
    """Return candidates of the run's space with their latency by device, measured on devices in reach.

    Where some are not within the budgets, or the device is faster or slower than predicted, candidates are chosen once
    more. Those that are over a budget then are left out.
    """

    def scored(count: int) -> None:
        progress("scoring candidates", count, count)

    limits = unchecked_limits(run)
    scorer = Scorer(run_source(run), evaluation_ledger(run), limits.predictors, scored)
    candidates = Candidates.of(limits, scorer, run.result(VerifyRecord))
    timed: dict[Arch, TimedNetwork] = {}
    for _ in range(CHOICES):
        archs = candidates.choose(run.config.tuned_candidates)
        networks = time_candidates(run, limits, [arch for arch in archs if arch not in timed], progress)
        timed |= {network.arch: network for network in networks}
        before, candidates = candidates, candidates.corrected(networks)
        if candidates.resembles(before):
            break
    archs = [arch for arch in archs if arch not in candidates.excluded]
    predicted = {name: predictor.predict(archs).tolist() for name, predictor in limits.predictors.items()}
    return {
        arch: {name: predicted[name][index] for name in predicted} | _measured_us(timed.get(arch))
        for index, arch in enumerate(archs)
    }


def _measured_us(network: TimedNetwork | None) -> dict[str, float]:
    return {name: latency.p50_us for name, latency in network.latency.items()} if network else {}


def _step_seconds(trainer: Tuner, archs: Sequence[Arch], progress: Progress) -> dict[Arch, float]:
    """Return the seconds of a training step of each network."""
    teacher, device, times = trainer.teacher, compute_device(trainer.config.training.device), {}
    if teacher is not None:
        teacher = copy.deepcopy(teacher).to(device).eval()
    for number, arch in enumerate(archs):
        progress("timing training steps", number, len(archs))
        times[arch] = _step_time(trainer, trainer.first(arch), teacher)
    progress("timing training steps", len(archs), len(archs))
    return times


def _step_time(trainer: Tuner, net: Subnet, teacher: Subnet | None) -> float:
    """Return the seconds of a training step, of a costly one from a part of the batch."""
    config, train = trainer.config.training, trainer.images.dataset.train
    batch = min(config.batch_size, len(train))
    part = max(2, batch // PARTS)
    timed = partial(step_seconds, [net], train, seed=trainer.config.seed, rounds=1, warm_up=0, teacher=teacher)
    (seconds,) = timed(config=config.model_copy(update={"batch_size": part}), timed=1)
    # The time of an image hardly depends on the batch where images take long.
    if seconds * batch / part > COSTLY_SECONDS:
        return float(seconds * batch / part)
    (seconds,) = timed(config=config)
    return float(seconds)


@dataclass(frozen=True)
class _Time:
    """The time that a run has for fine-tuning.

    Attributes:
        whole: seconds for all candidates; None where the config gives epochs.
        longest: seconds of the network that reaches the last rung, where the config gives epochs.
        epoch: seconds of an epoch of a mean network.
        scoring: seconds to score a mean network after a rung.
    """

    whole: float | None
    longest: float
    epoch: float
    scoring: float

    @classmethod
    def of(cls, run: Run, trainer: Tuner, step_seconds: float, began: float) -> _Time:
        """Return the time of a searched run.

        Args:
            run: the run.
            trainer: trains its networks.
            step_seconds: mean time of a training step.
            began: monotonic time at which the choice of candidates began.
        """
        images, epochs = len(run.finetune_images.dataset.train), run.config.finetune.epochs
        epoch = step_seconds * steps_of(run.config.training, images, 1)
        whole = _remaining_seconds(run, began) if epochs is None else None
        return cls(whole, epoch * (epochs or 0.0), epoch, SCORING_SHARE * epoch / images * trainer.scored_images)

    def seconds(self, counts: Sequence[int]) -> float:
        """Return the training time of all rungs, of so many networks each."""
        if self.whole is None:
            return whole_seconds(counts, self.longest)
        return max(self.whole - sum(counts) * self.scoring, LEAST_TRAINED * self.whole)

    def candidates(self, most: int, last: int) -> int:
        """Return for how many networks the time suffices, at most `most`; two at least, where there are so many.

        Args:
            most: number of networks.
            last: number of those of the last rung.
        """
        for count in range(most, 2, -1):
            counts = rung_counts(count, last)
            if rung_seconds(counts, self.seconds(counts))[0] >= LEAST_EPOCHS * self.epoch:
                return count
        return min(most, 2)


def _remaining_seconds(run: Run, began: float) -> float:
    """Return the time that is left for fine-tuning once its candidates are chosen.

    Args:
        run: the run.
        began: monotonic time at which the choice of candidates began.
    """
    spent = spent_on_results(run.folder)
    trained, searched = run.result(TrainRecord).train_seconds, run.result(SearchRecord).seconds
    # Results that were copied from another folder have no costs in this one.
    spent |= {"train": max(trained, spent.get("train", 0.0)), "search": max(searched, spent.get("search", 0.0))}
    if run.config.minutes is not None:
        spent["finetune"] = spent.get("finetune", 0.0) + time.monotonic() - began
    return finetuning_seconds(run.config.minutes, spent)
