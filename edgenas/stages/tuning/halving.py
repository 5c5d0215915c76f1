"""Successive halving: several networks are fine-tuned for a short time, the better half for longer, and so on.

The networks, the time of each rung and the steps that follow from it are fixed in a file when it begins. Every rung of
a network is a training of its own, with a warm-up, a cosine and a checkpoint: its end can be compared and exported, and
a run that was stopped or killed resumes there.
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgenas.accuracy.scorer import Scorer
from edgenas.config.run_config import RunConfig
from edgenas.progress import Progress
from edgenas.records.comparison import CandidateComparison, read_answers
from edgenas.records.finetune import CandidatePlan, FinetuneRecord, HalvingPlan, HalvingRecord, RungScore
from edgenas.records.paths import HALVING
from edgenas.records.train import TrainRecord
from edgenas.records.verify import VerifyRecord
from edgenas.runs.run import Run
from edgenas.space.arch import Arch
from edgenas.stages.budgets.limits import Limits, unchecked_limits
from edgenas.stages.tuning.candidates import Candidates
from edgenas.stages.tuning.rungs import best_scores, rung_seconds, rung_steps, survivors, whole_seconds
from edgenas.stages.weights.run_accuracy import evaluation_ledger, run_source
from edgenas.stages.weights.standalone_networks import setting_id
from edgenas.stages.weights.tuned_network import TunedNetwork, tuned_network
from edgenas.stages.weights.tuner import Tuner, tuner
from edgenas.statistics.candidate_comparison import compare_candidates
from edgenas.training.checkpoint import file_digest
from edgenas.training.freezing import freeze
from edgenas.training.setup import compute_device
from edgenas.training.standalone import step_seconds, steps_of

PLAN = "finetune/plan.json"
TUNING_SHARE = 0.5
"""Time of fine-tuning as a share of that of the supernet's training, where the config names no epochs."""


def halve(run: Run, progress: Progress) -> FinetuneRecord:
    """Fine-tune candidates of a verified run by successive halving and return the record of the most accurate one.

    Writes finetune/plan.json when it begins and finetune/halving.json when it ends.

    Raises:
        RunFolderError: a file is broken.
        EdgenasError: a loss is not a finite number; the step is named.
    """
    trainer = tuner(run)
    plan = _plan(run, trainer, progress)
    halving = _Halving(tuned_network(run, plan.candidates[0].arch), trainer, plan, progress)
    record = halving.record()
    record.write(run.folder / HALVING)
    best = halving.network(record.order[0].arch, record.order[0].steps).record()
    assert best is not None
    return best


@dataclass(frozen=True)
class _Halving:
    """Trains the networks of a plan.

    Attributes:
        base: any network of the run.
        tuner: trains networks.
        plan: networks, times and steps.
        progress: called with the current rung, its steps done and in all.
    """

    base: TunedNetwork
    tuner: Tuner
    plan: HalvingPlan
    progress: Progress

    def network(self, arch: Arch, steps: tuple[int, ...]) -> TunedNetwork:
        """Return a network after the rungs of so many steps."""
        return replace(self.base, arch=arch, rungs=steps)

    def record(self) -> HalvingRecord:
        """Return the scores of all networks, which are trained where they are not yet."""
        rungs: list[tuple[RungScore, ...]] = []
        left: Sequence[CandidatePlan] = self.plan.candidates
        for rung in range(len(self.plan.rung_seconds)):
            scores = self._rung(rung, left)
            rungs.append(tuple(sorted(scores, key=lambda score: -score.val_score)))
            better = {score.arch for score in survivors(scores)}
            left = [candidate for candidate in left if candidate.arch in better]
        order = best_scores(rungs)
        return HalvingRecord(**dict(self.plan), rungs=tuple(rungs), order=order, comparison=self._comparison(order))

    def _comparison(self, order: Sequence[RungScore]) -> CandidateComparison:
        """Return how far validation distinguishes trained networks, of which the first is the best."""
        records = [self.network(score.arch, score.steps).record() for score in order]
        right = np.stack([read_answers(record.val_right) for record in records if record is not None])
        return compare_candidates(right, self.tuner.images.scoring.labels.numpy(), self.tuner.config.seed)

    def _rung(self, rung: int, candidates: Sequence[CandidatePlan]) -> list[RungScore]:
        """Train networks for one rung and return their scores, in their order."""
        total, done, scores = sum(candidate.steps[rung] for candidate in candidates), 0, []
        label = f"fine-tuning {len(candidates)} networks, rung {rung + 1} of {len(self.plan.rung_seconds)}"
        for candidate in candidates:
            network = self.network(candidate.arch, candidate.steps[: rung + 1])
            record = network.record() or self.tuner.train(network, self._counted(label, done, total))
            # A kill may have left them beside the result.
            network.remove_checkpoints()
            done += candidate.steps[rung]
            self.progress(label, done, total)
            top1, score = record.val_top1_after, record.val_score
            scores.append(RungScore(arch=network.arch, steps=network.rungs, val_top1=top1, val_score=score))
        return scores

    def _counted(self, label: str, before: int, total: int) -> Callable[[int, int], None]:
        return lambda done, _: self.progress(label, before + done, total)


def _plan(run: Run, trainer: Tuner, progress: Progress) -> HalvingPlan:
    """Return the plan of a run: the one that is written down if it is of this front and these settings, else a new one.

    Raises:
        RunFolderError: the file is broken.
    """
    path, setting = run.folder / PLAN, _setting(run, trainer)
    if path.exists():
        plan = HalvingPlan.read(path, f"run `edgenas finetune {run.folder}`", run.space)
        if plan.setting == setting:
            return plan
    plan = _new_plan(run, trainer, setting, progress)
    plan.write(path)
    return plan


def _setting(run: Run, trainer: Tuner) -> str:
    """Return the digest of what a plan depends on: front, weights, images and settings."""
    return setting_id(
        {
            "verified": file_digest(run.result_path("verify")),
            "weights": trainer.source.weights,
            "images": trainer.images.digest,
            "settings": run.config.finetune.model_dump(mode="json"),
        }
    )


def _new_plan(run: Run, trainer: Tuner, setting: str, progress: Progress) -> HalvingPlan:
    """Choose candidates, time their steps, and return the plan."""
    limits = unchecked_limits(run)
    archs = _candidates(run, limits, progress)
    progress("timing training steps", 0, len(archs))
    times = _step_seconds(trainer, archs)
    progress("timing training steps", len(archs), len(archs))
    seconds = rung_seconds(len(archs), _all_seconds(run, statistics.mean(times), len(archs)))
    latency_us = {name: predictor.predict(archs) for name, predictor in limits.predictors.items()}
    candidates = (
        CandidatePlan(
            arch=arch,
            latency_us={name: float(values[index]) for name, values in latency_us.items()},
            step_seconds=times[index],
            steps=rung_steps(seconds, times[index]),
        )
        for index, arch in enumerate(archs)
    )
    return HalvingPlan(setting=setting, rung_seconds=seconds, candidates=tuple(candidates))


def _candidates(run: Run, limits: Limits, progress: Progress) -> list[Arch]:
    def scored(count: int) -> None:
        progress("scoring candidates", count, count)

    scorer = Scorer(run_source(run), evaluation_ledger(run), limits.predictors, scored)
    return Candidates.of(limits, scorer, run.result(VerifyRecord)).choose(run.config.tuned_candidates)


def _step_seconds(trainer: Tuner, archs: Sequence[Arch]) -> list[float]:
    """Return the seconds of a training step of each network, timed in turns."""
    config, teacher = trainer.config.training, trainer.teacher
    if teacher is not None:
        teacher = copy.deepcopy(teacher).to(compute_device(config.device)).eval()
    nets = [trainer.start(arch) for arch in archs]
    for net in nets:
        freeze(net, 0 if trainer.config.finetune.start == "fresh" else config.frozen_stages)
    # One round, since a step of a large network may take seconds.
    return step_seconds(
        nets, trainer.images.dataset.train, config, trainer.config.seed, rounds=1, warm_up=0, teacher=teacher
    )


def _all_seconds(run: Run, step_seconds: float, count: int) -> float:
    """Return the training time of all rungs and networks.

    Args:
        run: trained.
        step_seconds: mean time of a step.
        count: number of networks.
    """
    config: RunConfig = run.config
    if config.finetune.epochs is None:
        return TUNING_SHARE * run.result(TrainRecord).train_seconds
    images = len(run.finetune_images.dataset.train)
    return whole_seconds(count, step_seconds * steps_of(config.training, images, config.finetune.epochs))
