"""Candidates that were fine-tuned by successive halving: sentences, a table, and points of the front's figure."""

from __future__ import annotations

from collections.abc import Sequence

from edgenas.deploy.bundle.shipped_wording import gain_words
from edgenas.records.finetune import HalvingSummary
from edgenas.report.findings import Star
from edgenas.report.formats import duration, ms, percent
from edgenas.space.arch import Arch


def halving(tuned: HalvingSummary, shipped: Arch) -> str:
    """State how many networks were fine-tuned and how long."""
    candidates = tuned.candidates
    shelf = f", {tuned.shelf_networks} of them of the shelf" if tuned.shelf_networks else ""
    ranks = {candidate.arch: rank for rank, candidate in enumerate(candidates, 1)}
    place = "" if ranks.get(shipped, 1) == 1 else f"; the one that ships is number {ranks[shipped]}"
    views = f" ({percent(candidates[0].val_score)} as the mean over several views)" if _several_views(tuned) else ""
    return (
        f"{len(candidates)} networks{shelf} were fine-tuned by successive halving in {tuned.rungs} rungs, "
        f"{duration(tuned.seconds)} of training in all; the best reaches {percent(candidates[0].val_top1)} validation "
        f"top-1{views}{place}"
    )


def _several_views(tuned: HalvingSummary) -> bool:
    """Return whether networks are ranked by a mean over several views of few validation images."""
    return any(candidate.val_score != candidate.val_top1 for candidate in tuned.candidates)


def comparison(tuned: HalvingSummary) -> str | None:
    """State how far validation distinguishes the best network from those trained as long; None where it is alone."""
    facts = tuned.comparison
    if facts.candidates < 2:
        return None
    others = "the other one" if facts.candidates == 2 else f"{facts.worse} of the other {facts.candidates - 1}"
    verb = "do not distinguish" if facts.candidates == 2 and not facts.worse else "distinguish"
    return (
        f"{facts.candidates} networks were trained as long as the best one until the last rung with several; the "
        f"{facts.images:,} validation images {verb} it significantly from {others}, and it is the most accurate in "
        f"{percent(facts.best_share, 0)} of repeated stratified resamples of these images"
    )


def gain(tuned: HalvingSummary, shipped: Arch) -> str | None:
    """State what the search gained over the shelf; None where there is nothing to compare."""
    return None if tuned.gain is None else gain_words(tuned.gain, shipped)


def columns(tuned: HalvingSummary, devices: Sequence[str]) -> list[str]:
    """Return the header of `rows`."""
    views = ["mean over views"] if _several_views(tuned) else []
    return ["", *(f"ms on {device}" for device in devices), "rungs", "validation top-1", *views, "network"]


def rows(tuned: HalvingSummary, shipped: Arch, devices: Sequence[str]) -> list[list[str]]:
    """Return a row for each network, best first: its latency with random weights, rungs and accuracy.

    Where validation images are few, networks are ranked by the mean over several views, which has a column then.
    """
    views = _several_views(tuned)
    return [
        [
            f"{rank}, ships" if candidate.arch == shipped else str(rank),
            *(ms(candidate.latency_us.get(device)) for device in devices),
            str(candidate.rungs),
            percent(candidate.val_top1),
            *([percent(candidate.val_score)] if views else []),
            candidate.arch.id,
        ]
        for rank, candidate in enumerate(tuned.candidates, 1)
    ]


def searched_on(tuned: HalvingSummary | None, device: str) -> list[tuple[Star, Arch]]:
    """Return candidates of the search as points of a figure, where several were fine-tuned."""
    candidates = tuned.candidates if tuned and len(tuned.candidates) > 1 else ()
    return [
        (Star("", candidate.latency_us[device], candidate.val_top1), candidate.arch)
        for candidate in candidates
        if not candidate.arch.network and device in candidate.latency_us
    ]
