"""What test images show once the choice is made: optimism along the front, and accuracy lost by class."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgenas.errors import shortened
from edgenas.markup import name_in_sentence
from edgenas.records.export import ClassChange, HindsightRecord, TestedNetwork
from edgenas.records.verify import MeasuredNetwork
from edgenas.report.formats import percent
from edgenas.report.values import ImageFacts
from edgenas.statistics.significance import ERROR, holm_significant, mcnemar_p_value, standard_error

NAMED_CLASSES = 4
CHANGE_COLUMNS = ("class", "test images", "chosen network", "largest subnet", "difference (points)", "significant")


def front_optimism(hindsight: HindsightRecord | None, images: ImageFacts) -> str:
    """State how far validation is above test along the front, and for the chosen network."""
    if hindsight is None:
        return "Test top-1 of the front was not recorded"
    if not hindsight.front:
        return "No network of the front was measured, so only the chosen one was scored on test images"
    gaps = {row.arch: 100 * (row.val_top1 - row.test_top1) for row in hindsight.front}
    average = sum(gaps.values()) / len(gaps)
    ends = f"from {_side(min(gaps.values()))} to {_side(max(gaps.values()))}"
    lead = (
        f"Along the front of {len(gaps)} networks, scored on test images after the choice was made, "
        f"validation is {_side(average)} test on average ({ends})"
    )
    if hindsight.chosen not in gaps:
        return lead
    gap = gaps[hindsight.chosen]
    lead += f"; for the chosen one, before any fine-tuning, it is {_side(gap)}"
    if len(gaps) == 1:
        return lead
    more = "less" if gap < average else "more"
    return (
        f"{lead}, {abs(gap - average):.1f} points {more} optimistic than the front as a whole (two standard errors of "
        f"sampling, for one network: {_gap_error(hindsight, images):.1f} points)"
    )


def _gap_error(hindsight: HindsightRecord, images: ImageFacts) -> float:
    """Return two standard errors of the chosen network's validation minus test top-1, in points."""
    row = next(row for row in hindsight.front if row.arch == hindsight.chosen)
    rates = {"validation": row.val_top1, "test": row.test_top1}
    errors = [standard_error(rate, images.scored.get(split, 0)) for split, rate in rates.items()]
    return 200 * math.hypot(*errors)


def _side(points: float) -> str:
    return f"{abs(points):.1f} points {'above' if round(points, 1) >= 0 else 'below'}"


def class_losses(hindsight: HindsightRecord | None) -> str:
    """State which classes are less accurate than with the largest subnet of the same supernet."""
    if hindsight is None or not hindsight.classes:
        return "Accuracy by class was not compared with the largest subnet"
    trained = " that was trained (none over the budgets was)" if hindsight.within_budgets else ""
    if hindsight.chosen == hindsight.largest:
        return f"The chosen network is the largest one{trained}, so no class lost accuracy"
    classes = by_change(hindsight)
    whole = 100 * sum(map(_lost_images, classes)) / sum(row.images for row in classes)
    lead = (
        f"Compared with the largest subnet{trained}, the chosen network is {_side(-whole)} on all test images, both "
        "with their inherited weights"
    )
    losers = _losers(hindsight)
    corrected = f"exact McNemar tests, {ERROR:.0%} for all {len(classes):,} classes together by Holm's correction"
    if losers:
        named = shortened([f"{name_in_sentence(row.name)} ({points(row)})" for row in losers], NAMED_CLASSES)
        return f"{lead}; {len(losers)} of {len(classes):,} classes lost accuracy significantly: {named} ({corrected})"
    worst = classes[0]
    if _lost_images(worst) <= 0:
        return f"{lead}; no class lost accuracy"
    return (
        f"{lead}; no class lost accuracy significantly, most of all {name_in_sentence(worst.name)} "
        f"({points(worst)} on {worst.images:,} images; {corrected})"
    )


def _lost_images(row: ClassChange) -> int:
    return row.largest - row.chosen


def _share(row: ClassChange) -> float:
    return _lost_images(row) / row.images


def points(row: ClassChange) -> str:
    """Return the change of a class's test top-1 from the largest subnet to the chosen network, in points."""
    return f"{-100 * _share(row):+.1f} points"


def _losers(hindsight: HindsightRecord) -> list[ClassChange]:
    """Return the classes that lost significantly, corrected for their number, the largest loss first."""
    classes = by_change(hindsight)
    significant = holm_significant([mcnemar_p_value(row.only_largest, row.only_chosen) for row in classes])
    return [row for row, lost in zip(classes, significant, strict=True) if lost]


def change_rows(hindsight: HindsightRecord) -> list[list[str]]:
    """Return each class under `CHANGE_COLUMNS`, the largest loss first."""
    losers = _losers(hindsight)
    return [
        [
            row.name,
            f"{row.images:,}",
            percent(row.chosen / row.images),
            percent(row.largest / row.images),
            points(row).removesuffix(" points"),
            "lost" if row in losers else "",
        ]
        for row in by_change(hindsight)
    ]


def by_change(hindsight: HindsightRecord) -> Sequence[ClassChange]:
    """Return the classes that have images, the largest loss first."""
    return sorted((row for row in hindsight.classes if row.images), key=lambda row: -_share(row))


def numbered(hindsight: HindsightRecord, front: Sequence[MeasuredNetwork]) -> list[tuple[int, TestedNetwork]]:
    """Return the front's scores with the numbers of their networks in the report; refused networks have none."""
    scores = {row.arch: row for row in hindsight.front}
    return [(number, scores[network.arch]) for number, network in enumerate(front, 1) if network.arch in scores]
