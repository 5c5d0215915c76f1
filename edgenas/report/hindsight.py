"""What test images say once the choice is written down: sentences and figures."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgenas.errors import shortened
from edgenas.markup import name_in_sentence
from edgenas.report.evidence_values import ClassChange, Hindsight
from edgenas.report.figure import LOOKS, Figure, labels_of, layout_of, short
from edgenas.report.formats import percent
from edgenas.report.values import Run
from edgenas.statistics.significance import ERROR, beyond_chance, chance_of_more, standard_error

NAMED_CLASSES = 4


def front_optimism(run: Run) -> str:
    """How far validation flatters the front, and the chosen network beyond that."""
    found = run.hindsight
    if found is None:
        return "Test top-1 of the front was not recorded: `edgenas export` of this version records it"
    if not found.front:
        return "No network of the front was measured, so none but the chosen one was scored on test images"
    gaps = {one.arch: 100 * (one.val_top1 - one.test_top1) for one in found.front}
    average = sum(gaps.values()) / len(gaps)
    ends = f"from {_side(min(gaps.values()))} to {_side(max(gaps.values()))}"
    said = (
        f"Along the front of {len(gaps)} networks, scored on test images once the choice was written down, "
        f"validation is {_side(average)} test on average ({ends})"
    )
    if found.chosen not in gaps:
        return said
    own = gaps[found.chosen]
    said += f"; for the chosen one, before any fine-tuning, it is {_side(own)}"
    if len(gaps) == 1:
        return said
    more = "less" if own < average else "more"
    return (
        f"{said}, {abs(own - average):.1f} points {more} optimistic than the front as a whole (two standard errors of "
        f"sampling, for one network: {_gap_error(run, found):.1f} points)"
    )


def _gap_error(run: Run, found: Hindsight) -> float:
    """Two standard errors of the chosen network's validation minus test top-1, in points."""
    one = next(one for one in found.front if one.arch == found.chosen)
    rates = {"validation": one.val_top1, "test": one.test_top1}
    errors = [standard_error(rate, run.scored_images(split)) for split, rate in rates.items()]
    return 200 * math.hypot(*errors)


def _side(points: float) -> str:
    return f"{abs(points):.1f} points {'above' if round(points, 1) >= 0 else 'below'}"


def paid(run: Run) -> str:
    """Which classes paid for the speed, against the largest subnet that the same supernet was trained."""
    found = run.hindsight
    if found is None or not found.classes:
        return "Accuracy by class was not held against the largest subnet: `edgenas export` of this version does that"
    trained = " that was trained (nothing beyond the budgets was)" if found.within_budgets else ""
    if found.chosen == found.largest:
        return f"The chosen network is the largest one{trained}, so no class paid for its speed"
    whole = 100 * sum(_lost(one) for one in found.classes) / sum(one.images for one in found.classes)
    lead = (
        f"Against the largest subnet{trained}, the chosen network is {_side(-whole)} on all test images, both with "
        "the weights they inherit"
    )
    losers, classes = _losers(found), len(by_change(found))
    corrected = f"exact McNemar tests, {ERROR:.0%} for all {classes:,} classes together by Holm's correction"
    if not losers:
        most = max(found.classes, key=_share)
        if _lost(most) <= 0:
            return f"{lead}; no class paid for the speed"
        return (
            f"{lead}; no class lost more than chance explains, most of all {name_in_sentence(most.name)} "
            f"({_points(most)} on {most.images:,} images; {corrected})"
        )
    named = shortened([f"{name_in_sentence(one.name)} ({_points(one)})" for one in losers], NAMED_CLASSES)
    return (
        f"{lead}; the speed was paid for by {named}: {len(losers)} of {classes:,} classes lost more "
        f"than chance explains ({corrected})"
    )


def _lost(one: ClassChange) -> int:
    return one.largest - one.chosen


def _share(one: ClassChange) -> float:
    return _lost(one) / max(one.images, 1)


def _points(one: ClassChange) -> str:
    return f"{-100 * _share(one):+.1f} points"


def _losers(found: Hindsight) -> list[ClassChange]:
    """Classes that lost more than chance explains, however many are looked at; those that paid most first."""
    classes = by_change(found)
    beyond = beyond_chance([chance_of_more(one.only_largest, one.only_chosen) for one in classes])
    return [one for one, lost in zip(classes, beyond, strict=True) if lost]


CHANGE_COLUMNS = ("class", "test images", "chosen network", "largest subnet", "difference (points)", "beyond chance")


def change_rows(found: Hindsight) -> list[list[str]]:
    """Each class under `CHANGE_COLUMNS`, that which paid most first."""
    losers = _losers(found)
    return [
        [
            one.name,
            f"{one.images:,}",
            percent(one.chosen / one.images),
            percent(one.largest / one.images),
            _points(one).removesuffix(" points"),
            "lost" if one in losers else "",
        ]
        for one in by_change(found)
    ]


def ordered(run: Run, found: Hindsight) -> list[int]:
    """Places in `found.front`, fastest network first, as the page numbers them."""
    place = {network.arch: number for number, network in enumerate(run.networks)}
    return sorted(range(len(found.front)), key=lambda n: place.get(found.front[n].arch, len(place)))


def front_on_test(run: Run) -> Figure:
    """Validation and test top-1 of each network of the front, fastest first."""
    found = run.hindsight
    assert found is not None
    rows = [found.front[place] for place in ordered(run, found)]
    names = [str(number) + (", chosen" if row.arch == found.chosen else "") for number, row in enumerate(rows, 1)]
    data = []
    columns = (
        ("validation", [one.val_top1 for one in rows]),
        ("test", [one.test_top1 for one in rows]),
    )
    for (split, values), (colour, symbol, dash) in zip(columns, LOOKS, strict=False):
        errors = [short(200 * standard_error(rate, run.scored_images(split))) for rate in values]
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": f"{split} top-1, ± two standard errors",
                "x": names,
                "y": [short(100 * rate) for rate in values],
                "error_y": {"type": "data", "array": errors, "color": colour},
                "line": {"color": colour, "dash": dash},
                "marker": {"color": colour, "symbol": symbol, "size": 9},
            }
        )
    layout = layout_of("network of the front, fastest first", "top-1 (%)")
    layout["xaxis"] |= {"type": "category"}
    return {"data": data, "layout": layout, "label": front_optimism(run)}


def by_change(found: Hindsight) -> Sequence[ClassChange]:
    """Classes that have images, those that paid most first."""
    return sorted((one for one in found.classes if one.images), key=lambda one: -_share(one))


def class_changes(run: Run) -> Figure:
    """Test top-1 of each class, of the largest subnet and of the chosen network, that which paid most at the top."""
    found = run.hindsight
    assert found is not None
    rows = by_change(found)
    names = labels_of([one.name for one in rows])
    data = []
    for name, right, (colour, symbol, _) in zip(
        ("chosen network", "largest subnet"),
        ([one.chosen for one in rows], [one.largest for one in rows]),
        LOOKS,
        strict=False,
    ):
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "x": [short(100 * own / one.images) for own, one in zip(right, rows, strict=True)],
                "y": names,
                "customdata": [_points(one) for one in rows],
                "hovertemplate": "%{y}: %{x} %, chosen − largest %{customdata}<extra>" + name + "</extra>",
                "marker": {"color": colour, "symbol": symbol, "size": 10},
            }
        )
    layout = layout_of("test top-1 (%)", "") | {"height": 120 + 24 * len(names)}
    layout["yaxis"] |= {"type": "category", "autorange": "reversed", "categoryorder": "array", "categoryarray": names}
    return {"data": data, "layout": layout, "label": paid(run)}
