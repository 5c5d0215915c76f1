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
    return (
        f"{len(candidates)} networks{shelf} were fine-tuned by successive halving in {tuned.rungs} rungs, "
        f"{duration(tuned.seconds)} of training in all; the best reaches {percent(candidates[0].val_top1)} validation "
        f"top-1{place}"
    )


def gain(tuned: HalvingSummary, shipped: Arch) -> str | None:
    """State what the search gained over the shelf; None where there is nothing to compare."""
    return None if tuned.gain is None else gain_words(tuned.gain, shipped)


def columns(devices: Sequence[str]) -> list[str]:
    """Return the header of `rows`."""
    return ["", *(f"ms on {device}" for device in devices), "rungs", "validation top-1", "network"]


def rows(tuned: HalvingSummary, shipped: Arch, devices: Sequence[str]) -> list[list[str]]:
    """Return a row for each network, best first: its latency with random weights, rungs and accuracy."""
    return [
        [
            f"{rank}, ships" if candidate.arch == shipped else str(rank),
            *(ms(candidate.latency_us.get(device)) for device in devices),
            str(candidate.rungs),
            percent(candidate.val_top1),
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
