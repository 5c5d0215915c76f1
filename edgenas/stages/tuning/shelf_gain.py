"""Successive halving in figures, and what the search gained over the shelf on test images."""

from __future__ import annotations

from edgenas.records.comparison import answers_text
from edgenas.records.finetune import HalvingSummary, ShelfGain, TunedCandidate
from edgenas.runs.run import Run
from edgenas.space.arch import Arch
from edgenas.stages.weights.tuned_network import Tuned, halving_record, tuned_subnet
from edgenas.statistics.paired_gain import gain_of_answers
from edgenas.training.materialise import accuracy


def halving_summary(run: Run, gain: ShelfGain | None) -> HalvingSummary | None:
    """Return successive halving in figures; None where the run fine-tuned one network.

    Args:
        run: fine-tuned.
        gain: see `shelf_gain`; None before the choice is made.
    """
    record = halving_record(run)
    if record is None or run.lacks("finetune") is not None:
        return None
    latency_us = {candidate.arch: candidate.latency_us for candidate in record.candidates}
    rungs = {score.arch: len(score.steps) for rung in record.rungs for score in rung}
    return HalvingSummary(
        candidates=tuple(
            TunedCandidate(
                arch=score.arch,
                latency_us=latency_us[score.arch],
                rungs=rungs[score.arch],
                val_top1=score.val_top1,
                val_score=score.val_score,
            )
            for score in record.order
        ),
        rungs=len(record.rungs),
        seconds=sum(len(rung) * seconds for rung, seconds in zip(record.rungs, record.rung_seconds, strict=True)),
        comparison=record.comparison,
        gain=gain,
    )


def shelf_gain(run: Run, shipped: Arch) -> ShelfGain | None:
    """Return the gain of the search over the shelf on test images; only after the choice is made.

    Args:
        run: fine-tuned.
        shipped: the network that ships; the best one of the other kind, by validation, is compared with it.

    Returns:
        None where the run has no networks of both kinds, or the best one of the search ships as it was inherited.
    """
    record = halving_record(run)
    if record is None or run.lacks("finetune") is not None:
        return None
    archs = [shipped, *(score.arch for score in record.order)]
    searched = next((arch for arch in archs if not arch.network), None)
    shelf = next((arch for arch in archs if arch.network), None)
    if searched is None or shelf is None:
        return None
    tuned = [tuned_subnet(run, arch) for arch in (searched, shelf)]
    right = [_answers(network) for network in tuned if network is not None]
    if len(right) < len(tuned):
        return None
    gain = gain_of_answers(*right)
    return ShelfGain(
        searched=searched,
        shelf=shelf,
        searched_top1=right[0].count("1") / len(right[0]),
        shelf_top1=right[1].count("1") / len(right[1]),
        interval=(gain.low, gain.high),
        images=len(right[0]),
    )


def _answers(network: Tuned) -> str:
    """Return the answers of a fine-tuned network on the test images."""
    return answers_text(accuracy(network.subnet, network.images.dataset.test).right.numpy())
