"""Successive halving: several networks are fine-tuned for a short time, the better half for longer, and so on.

The networks, the time of each rung and the steps that follow from it are fixed in a file when it begins. Every rung of
a network is a training of its own, with a warm-up, a cosine and a checkpoint: its end can be compared and exported, and
a run that was stopped or killed resumes there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgenas.progress import Progress
from edgenas.records.comparison import CandidateComparison, read_answers
from edgenas.records.finetune import CandidatePlan, FinetuneRecord, HalvingPlan, HalvingRecord, RungScore
from edgenas.records.paths import HALVING
from edgenas.runs.run import Run
from edgenas.space.arch import Arch
from edgenas.stages.tuning.plan import halving_plan, remove_other_plans
from edgenas.stages.tuning.rungs import last_scores, survivors
from edgenas.stages.weights.tuned_network import TunedNetwork, tuned_network
from edgenas.stages.weights.tuner import Tuner, tuner
from edgenas.statistics.candidate_comparison import compare_candidates


def halve(run: Run, progress: Progress) -> FinetuneRecord:
    """Fine-tune candidates of a verified run by successive halving and return the record of the most accurate one.

    Writes finetune/plan.json when it begins and finetune/halving.json when it ends.

    Raises:
        RunFolderError: a file is broken.
        EdgenasError: a loss is not a finite number; the step is named.
    """
    trainer = tuner(run)
    plan = halving_plan(run, trainer, progress)
    halving = _Halving(tuned_network(run, plan.candidates[0].arch), trainer, plan, progress)
    record = halving.record()
    record.write(run.folder / HALVING)
    remove_other_plans(run, plan)
    return halving.finished(record.order[0])


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
        return replace(self.base, arch=arch, rungs=steps, plan=self.plan.setting)

    def record(self) -> HalvingRecord:
        """Return the scores of all networks, which are trained where they are not yet."""
        rungs: list[tuple[RungScore, ...]] = []
        left: Sequence[CandidatePlan] = self.plan.candidates
        for rung in range(len(self.plan.rung_seconds)):
            scores = self._rung(rung, left)
            rungs.append(tuple(sorted(scores, key=lambda score: -score.val_score)))
            better = {score.arch for score in survivors(scores, self._next(rung))}
            left = [candidate for candidate in left if candidate.arch in better]
        order = last_scores(rungs)
        return HalvingRecord(
            **dict(self.plan), rungs=tuple(rungs), order=order, comparison=self._comparison(rungs, order[0].arch)
        )

    def _comparison(self, rungs: Sequence[Sequence[RungScore]], best: Arch) -> CandidateComparison:
        """Return how far validation distinguishes the best network from the others of the last rung that had several.

        Networks that were dropped earlier were trained for a shorter time, so they would seem worse than they are.
        """
        last = next((rung for rung in reversed(rungs) if len(rung) > 1), rungs[-1])
        scores = sorted(last, key=lambda score: score.arch != best)
        right = np.stack([read_answers(self.finished(score).val_right) for score in scores])
        return compare_candidates(right, self.tuner.images.scoring.labels.numpy(), self.tuner.config.seed)

    def finished(self, score: RungScore) -> FinetuneRecord:
        """Return the record of a network that was trained."""
        record = self.network(score.arch, score.steps).record()
        assert record is not None
        return record

    def _next(self, rung: int) -> int:
        """Return the number of networks of the next rung; 0 after the last one."""
        return next(iter(self.plan.rung_networks[rung + 1 :]), 0)

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
