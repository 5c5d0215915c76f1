"""Can the supernet be trusted, was the search worth it: sentences, tables and figures."""

from __future__ import annotations

from collections.abc import Sequence

from edgenas.report.evidence_values import Agreement, Estimate, Spread, Trust, Worth
from edgenas.report.figure import LOOKS, Figure, layout_of, short
from edgenas.report.formats import MISSING, count, duration, ms, number, percent
from edgenas.statistics.rank_agreement import ROUGH_BELOW

NEARLY = 0.01
"""Shares of time that are no further apart are called equal."""


def trusted(found: Trust) -> str:
    """The verdict: how well inherited accuracies rank, beside MACs."""
    taus = found.all.tau
    if taus is None or taus.inherited.value is None or taus.macs.value is None:
        return "Too few subnets, or too many ties, to tell how well inherited accuracies rank"
    lead = taus.lead_over_macs
    # Two taus that are printed alike are no lead.
    ahead = round(taus.inherited.value, 2) > round(taus.macs.value, 2)
    how = "better than" if ahead else "no better than"
    sure = ", which may be chance" if ahead and _may_be_chance(lead) else ""
    return (
        f"Inherited accuracies rank subnets with a Kendall tau of {taus.inherited.value:.2f}, {how} MACs alone "
        f"({taus.macs.value:.2f}){sure}"
    )


def _may_be_chance(lead: Estimate) -> bool:
    """Whether an interval reaches down to no lead at all, or is too rough to exclude it."""
    return lead.low is not None and (lead.low <= 0 or lead.count < ROUGH_BELOW)


def gaps(found: Trust) -> list[str]:
    """The gap to what subnets reach alone, what recalibration is worth, and the group of near-equal MACs."""
    said = []
    if found.all.gap is not None and found.all.gap.value is not None:
        side = "above" if found.all.gap.value >= 0 else "below"
        said.append(
            f"On average, {found.all.subnets} subnets inherit {100 * abs(found.all.gap.value):.1f} points {side} "
            f"what they reach alone in {found.epochs:g} epochs (95 % of samples of these subnets: "
            f"{_points(found.all.gap)})"
        )
    if found.all.gap_uncalibrated is not None and found.all.gap_uncalibrated.value is not None:
        bare = found.all.tau.uncalibrated if found.all.tau else None
        said.append(
            f"Without batch norm recalibrated it would be {100 * found.all.gap_uncalibrated.value:+.1f} points"
            + (f", and a tau of {number(bare.value)}" if bare and bare.value is not None else "")
        )
    if found.subnets:
        ends = [percent(end(one.alone for one in found.subnets)) for end in (min, max)]
        mean = f", in the mean of {found.repeats} trainings" if found.repeats > 1 else ""
        said.append(f"Alone they reach {ends[0]} to {ends[1]}{mean}")
    if found.all.tau is not None and found.all.tau.repeated is not None:
        said.append(
            f"One such training ranks them as the mean of the others does with a tau of {found.all.tau.repeated:.2f}"
        )
    if found.average is not None:
        said.append(
            "What recalibrating batch norm is worth is left out: training's statistics are not those of the averaged "
            "weights (train.average)"
        )
    if found.group.tau is not None and found.group.macs_least and found.group.macs_greatest:
        said.append(
            f"Among {found.group.subnets} subnets of near-equal MACs ({count(found.group.macs_least)} to "
            f"{count(found.group.macs_greatest)}) tau is {_tau(found.group.tau.inherited)}, of MACs alone "
            f"{_tau(found.group.tau.macs)}"
        )
    if found.supernet_from is not None:
        said.append("The supernet began from other weights, the subnets trained from scratch from none")
    return said


def _points(one: Estimate) -> str:
    return MISSING if one.low is None or one.high is None else f"{100 * one.low:+.1f} to {100 * one.high:+.1f}"


def _tau(one: Estimate | None) -> str:
    if one is None:
        return MISSING
    if one.value is None:
        return "unknown"
    rough = ", rough" if one.count < ROUGH_BELOW else ""
    return f"{number(one.value)} ({number(one.low)} to {number(one.high)}{rough})"


TRUST_COLUMNS = (
    "",
    "subnets",
    "mean gap (points)",
    "tau",
    "tau without recalibration",
    "tau of MACs",
    "lead over MACs",
)


def trust_rows(found: Trust) -> list[list[str]]:
    """All subnets, and those of near-equal MACs, under `TRUST_COLUMNS`."""
    return [_trust_row("all", found.all), _trust_row("of near-equal MACs", found.group)]


def _trust_row(name: str, one: Agreement) -> list[str]:
    if one.tau is None or one.gap is None:
        return [name, str(one.subnets), *[MISSING] * 5]
    gap = MISSING if one.gap.value is None else f"{100 * one.gap.value:+.2f} ({_points(one.gap)})"
    taus = (one.tau.inherited, one.tau.uncalibrated, one.tau.macs, one.tau.lead_over_macs)
    return [name, str(one.subnets), gap, *map(_tau, taus)]


SUBNET_COLUMNS = ("subnet", "MACs", "near-equal", "inherited", "without recalibration", "alone", "gap (points)")


def subnet_rows(found: Trust) -> list[list[str]]:
    """Each subnet under `SUBNET_COLUMNS`."""
    return [
        [
            one.arch,
            count(one.macs),
            "yes" if one.grouped else "",
            percent(one.inherited),
            percent(one.uncalibrated),
            percent(one.alone),
            f"{100 * (one.inherited - one.alone):+.1f}",
        ]
        for one in found.subnets
    ]


def inherited_and_alone(found: Trust) -> Figure:
    """Inherited against standalone top-1."""
    data = []
    for (name, grouped), (colour, symbol, _) in zip(
        (("of near-equal MACs", True), ("others", False)), LOOKS, strict=False
    ):
        own = [one for one in found.subnets if one.grouped is grouped]
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "x": [short(100 * one.alone) for one in own],
                "y": [short(100 * one.inherited) for one in own],
                "customdata": [f"{one.arch}<br>{count(one.macs)} MACs" for one in own],
                "hovertemplate": "alone %{x} %, inherited %{y} %<br>%{customdata}<extra></extra>",
                "marker": {"color": colour, "symbol": symbol, "size": 10},
            }
        )
    ends = [short(100 * end(one.alone for one in found.subnets)) for end in (min, max)]
    line = {"type": "scatter", "mode": "lines", "name": "equal", "x": ends, "y": ends, "line": {"color": "@faint"}}
    layout = layout_of("validation top-1, trained from scratch (%)", "inherited (%)")
    return {"data": [line, *data], "layout": layout, "label": trusted(found)}


def worthwhile(found: Worth) -> str:
    """The verdict: ahead of the best rival, or behind it."""
    best, side = found.rivals[found.best_rival], "ahead of" if found.ahead else "behind"
    error = "" if found.lead_error is None else f" ± {200 * found.lead_error:.1f}"
    chance = found.lead_error is not None and abs(found.lead) <= 2 * found.lead_error
    return (
        f"The search's network is {100 * abs(found.lead):.1f}{error} points {side} {found.best_rival} on test images"
        f"{', which may be chance' if chance else ''} ({percent(found.edgenas.test_top1)} of one "
        f"run against {percent(best.test_top1.mean)}, mean of {len(best.seeds)} seeds)"
    )


def beside(found: Worth) -> list[str]:
    """What stands beside the verdict: how fair it was, who is left out, and from how many budgets on it pays."""
    best, share = found.rivals[found.best_rival], found.seconds["each_rival"] / found.seconds["total"]
    time = "as much time as" if abs(share - 1) < NEARLY else f"{share:.2f} of the time that"
    latencies = (f"{r.p50_us.mean / found.edgenas.p50_us:.2f} ({name})" for name, r in found.rivals.items())
    said = [
        f"Each rival and seed was given {time} supernet, search and fine-tuning took; {found.best_rival} is behind "
        f"with {best.seeds_behind} of {len(best.seeds)} seeds, which reach {_ends(best.test_top1)}"
        f"{'' if found.lead_error is None else ' (the ± is that of the test images alone)'}; rivals have "
        f"{', '.join(latencies)} of the network's measured latency"
    ]
    if found.supernet_from is not None:
        said.append("The supernet began from other weights, the rivals from none")
    return [*said, *_absent(found), crossing(found)]


def _ends(one: Spread) -> str:
    return f"{percent(one.least, 2)} to {percent(one.greatest, 2)}"


def _absent(found: Worth) -> list[str]:
    """Rivals that are left out, or some of their seeds are."""
    return [
        f"{name} is left out{f' for seed {_listed(seeds)}' if name in found.rivals else ''}: "
        + ("no other network of the space is" if name == "random-search" else "at no width and resolution is it")
        + " as fast as the chosen one"
        for name, seeds in found.left_out.items()
    ]


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def crossing(found: Worth) -> str:
    """Return from how many budgets on the supernet pays, or that this is unknown and why."""
    costs = found.crossover
    once, per_budget, alone = costs.once_seconds, costs.per_budget_seconds, costs.alone_seconds
    if costs.verdict == "unknown" or once is None or per_budget is None or alone is None:
        return f"From how many budgets on the supernet pays is unknown: {costs.reason}"
    each = f"{duration(alone)} to train and export one network alone for as many epochs"
    if costs.alone_range_seconds is not None:
        each += f" ({' to '.join(map(duration, costs.alone_range_seconds))} by the spread of step times)"
    if costs.budgets is None:
        return (
            f"Each further budget costs {duration(per_budget)} of search, verification, fine-tuning and "
            f"export, no less than {each}: the supernet never pays by time alone"
        )
    low, high = costs.budgets
    return (
        f"Profiling and the supernet took {duration(once)} once, search, verification, fine-tuning and "
        f"export {duration(per_budget)} for each budget, against {each}: by time alone, it pays from "
        f"{low if low == high else f'{low} to {high}'} budget(s) on"
    )


WORTH_COLUMNS = ("", "network", "test top-1", "over seeds", "validation top-1", "p50 (ms)", "time", "networks tried")


def worth_rows(found: Worth) -> list[list[str]]:
    """The search's network and its rivals under `WORTH_COLUMNS`."""
    own = found.edgenas
    scores = [percent(own.test_top1, 2), MISSING, percent(own.val_top1, 2)]
    rows = [["edgenas", own.network, *scores, ms(own.p50_us), duration(own.seconds), f"{own.tried:,}"]]
    rows += [
        [
            name,
            ", ".join(dict.fromkeys(one.network for one in rival.seeds)),
            percent(rival.test_top1.mean, 2),
            f"{percent(rival.test_top1.least, 2)} to {percent(rival.test_top1.greatest, 2)}, {len(rival.seeds)}",
            percent(rival.val_top1.mean, 2),
            ms(rival.p50_us.mean),
            duration(rival.seconds.mean),
            ", ".join(str(one.tried) for one in rival.seeds),
        ]
        for name, rival in found.rivals.items()
    ]
    return rows


COST_COLUMNS = ("budgets", "with the supernet", "each alone")


def cost_rows(found: Worth) -> list[list[str]]:
    """Total cost by number of budgets, under `COST_COLUMNS`."""
    return [
        [str(row.budgets), duration(row.shared_seconds), duration(row.alone_seconds)] for row in found.crossover.table
    ]


def total_costs(found: Worth) -> tuple[Figure, ...]:
    """Minutes in all by number of budgets, with one supernet and with standalone networks; none if unknown."""
    table = found.crossover.table
    if not table:
        return ()
    rows = [
        ("one supernet", [row.shared_seconds for row in table]),
        ("each alone", [row.alone_seconds for row in table]),
    ]
    data = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": name,
            "x": [row.budgets for row in table],
            "y": [short(value / 60) for value in seconds],
            "line": {"color": colour, "dash": dash},
            "marker": {"color": colour, "symbol": symbol, "size": 9},
        }
        for (name, seconds), (colour, symbol, dash) in zip(rows, reversed(LOOKS), strict=False)
    ]
    return ({"data": data, "layout": layout_of("budgets", "minutes in all"), "label": crossing(found)},)


def contenders(found: Worth) -> Figure:
    """Test top-1 of every seed against measured latency."""
    data = []
    shown = {"edgenas": (found.edgenas,), **{name: rival.seeds for name, rival in found.rivals.items()}}
    for (name, own), (colour, symbol, _) in zip(shown.items(), LOOKS, strict=False):
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "x": [short(one.p50_us / 1e3) for one in own],
                "y": [short(100 * one.test_top1) for one in own],
                "customdata": [f"seed {one.seed}, {one.network}" for one in own],
                "hovertemplate": "%{x} ms, %{y} %<br>%{customdata}<extra>" + name + "</extra>",
                "marker": {"color": colour, "symbol": symbol, "size": 11},
            }
        )
    layout = layout_of(f"measured p50 on {found.device} (ms)", "test top-1 (%)")
    return {"data": data, "layout": layout, "label": worthwhile(found)}
