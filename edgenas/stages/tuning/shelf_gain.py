"""What the search gained over the shelf: fine-tuned networks of both compared on the same validation images."""

from __future__ import annotations

from edgenas.errors import RunFolderError
from edgenas.records.finetune import HalvingRecord, HalvingSummary, ShelfGain, TunedCandidate
from edgenas.runs.run import Run
from edgenas.space.arch import Arch
from edgenas.stages.weights.tuned_network import halving_record, tuned_network
from edgenas.statistics.paired_gain import gain_of_answers


def halving_summary(run: Run, shipped: Arch) -> HalvingSummary | None:
    """Return successive halving in figures; None where the run fine-tuned one network.

    Args:
        run: fine-tuned.
        shipped: the network that ships.
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
            )
            for score in record.order
        ),
        rungs=len(record.rungs),
        seconds=sum(len(rung) * seconds for rung, seconds in zip(record.rungs, record.rung_seconds, strict=True)),
        gain=shelf_gain(run, record, shipped),
    )


def shelf_gain(run: Run, record: HalvingRecord, shipped: Arch) -> ShelfGain | None:
    """Return the gain of the search over the shelf; None where none or all of the networks are of the shelf.

    Args:
        run: fine-tuned.
        record: fine-tuned networks, best first.
        shipped: the network that ships; the best one of the other kind is compared with it.
    """
    ranked = sorted(record.order, key=lambda score: score.arch != shipped)
    searched = next((score for score in ranked if not score.arch.network), None)
    shelf = next((score for score in ranked if score.arch.network), None)
    if searched is None or shelf is None:
        return None
    right = [_answers(run, score.arch) for score in (searched, shelf)]
    gain = gain_of_answers(*right)
    return ShelfGain(
        searched=searched.arch,
        shelf=shelf.arch,
        searched_top1=searched.val_top1,
        shelf_top1=shelf.val_top1,
        interval=(gain.low, gain.high),
        images=len(right[0]),
    )


def _answers(run: Run, arch: Arch) -> str:
    """Return the answers of a fine-tuned network on the validation images.

    Raises:
        RunFolderError: its record is missing.
    """
    record = tuned_network(run, arch).record()
    if record is None:
        remedy = f"delete {run.result_path('finetune')} and run `edgenas finetune {run.folder}`"
        raise RunFolderError(f"{run.folder}: the result of {arch}, which was fine-tuned, is missing: {remedy}")
    return record.val_right
