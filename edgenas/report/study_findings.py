"""What studies of a run found, in sentences and tables: ranking by inherited accuracy, baselines, strategies."""

from __future__ import annotations

from edgenas.quantities import format_count
from edgenas.records.baselines import BaselinesRecord, Spread
from edgenas.records.ranking import Agreement, Estimate, RankingRecord, standalone_training
from edgenas.records.strategies import StrategiesRecord
from edgenas.report.formats import MISSING, duration, ms, number, percent
from edgenas.statistics.rank_agreement import ROUGH_BELOW

NEARLY = 0.01
"""Largest difference of two shares of time that are called equal."""
RANKING_COLUMNS = (
    "",
    "subnets",
    "mean gap (points)",
    "tau",
    "tau without recalibration",
    "tau of MACs",
    "lead over MACs",
)
SUBNET_COLUMNS = ("subnet", "MACs", "near-equal", "inherited", "without recalibration", "standalone", "gap (points)")
BASELINE_COLUMNS = ("", "network", "test top-1", "over seeds", "validation top-1", "p50 (ms)", "time", "networks tried")
TIME_COLUMNS = ("budgets", "with the supernet", "each from scratch")


def ranking(study: RankingRecord) -> str:
    """State how well inherited accuracies rank subnets, compared with MACs."""
    taus = study.all.tau
    if taus is None or taus.inherited.value is None or taus.macs.value is None:
        return "Too few subnets, or too many ties, to judge how well inherited accuracies rank"
    # Two taus that are printed alike are no lead.
    ahead = round(taus.inherited.value, 2) > round(taus.macs.value, 2)
    uncertain = ahead and _not_significant(taus.lead_over_macs)
    return (
        f"Inherited accuracies rank subnets with a Kendall's tau of {taus.inherited.value:.2f}, "
        f"{'better than' if ahead else 'no better than'} MACs alone ({taus.macs.value:.2f})"
        f"{', which is not significant' if uncertain else ''}"
    )


def _not_significant(lead: Estimate) -> bool:
    """Return whether an interval contains no lead at all, or is too rough to exclude it."""
    return lead.low is not None and (lead.low <= 0 or lead.count < ROUGH_BELOW)


def ranking_details(study: RankingRecord) -> list[str]:
    """Return the gap to standalone training, the gain of recalibration, and subnets of near-equal MACs."""
    agreement, group, training = study.all, study.group, standalone_training(study.standalone_from)
    sentences = []
    if agreement.gap is not None and agreement.gap.value is not None:
        side = "above" if agreement.gap.value >= 0 else "below"
        sentences.append(
            f"On average, the inherited accuracy of {agreement.subnets} subnets is "
            f"{100 * abs(agreement.gap.value):.1f} points {side} what they reach when {training} for "
            f"{study.epochs:g} epochs (95 % of samples of these subnets: {_points(agreement.gap)})"
        )
    if agreement.gap_uncalibrated is not None and agreement.gap_uncalibrated.value is not None:
        bare = agreement.tau.uncalibrated if agreement.tau else None
        sentences.append(
            f"Without batch norm recalibrated it would be {100 * agreement.gap_uncalibrated.value:+.1f} points"
            + (f", and a tau of {number(bare.value)}" if bare and bare.value is not None else "")
        )
    if study.subnets:
        ends = [percent(end(subnet.standalone for subnet in study.subnets)) for end in (min, max)]
        mean = f", in the mean of {study.repeats} trainings" if study.repeats > 1 else ""
        sentences.append(f"{training[0].upper()}{training[1:]} they reach {ends[0]} to {ends[1]}{mean}")
    if agreement.tau is not None and agreement.tau.repeated is not None:
        sentences.append(
            f"One such training ranks them like the mean of the others with a tau of {agreement.tau.repeated:.2f}"
        )
    if study.average is not None:
        sentences.append(
            "The gain of recalibrating batch norm is left out: the statistics of training are not those of the "
            "averaged weights (train.average)"
        )
    if group.tau is not None and group.macs_least and group.macs_greatest:
        macs = f"{format_count(group.macs_least)} to {format_count(group.macs_greatest)}"
        sentences.append(
            f"Among {group.subnets} subnets of near-equal MACs ({macs}) tau is {_tau(group.tau.inherited)}, "
            f"of MACs alone {_tau(group.tau.macs)}"
        )
    if study.supernet_from is not None and study.standalone_from is None:
        sentences.append("The supernet began from other weights, the subnets trained from scratch from none")
    return sentences


def _points(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return MISSING
    return f"{100 * estimate.low:+.1f} to {100 * estimate.high:+.1f}"


def _tau(estimate: Estimate | None) -> str:
    if estimate is None:
        return MISSING
    if estimate.value is None:
        return "unknown"
    rough = ", rough" if estimate.count < ROUGH_BELOW else ""
    return f"{number(estimate.value)} ({number(estimate.low)} to {number(estimate.high)}{rough})"


def ranking_rows(study: RankingRecord) -> list[list[str]]:
    """Return all subnets, and those of near-equal MACs, under `RANKING_COLUMNS`."""
    return [_ranking_row("all", study.all), _ranking_row("of near-equal MACs", study.group)]


def _ranking_row(name: str, agreement: Agreement) -> list[str]:
    gap, tau = agreement.gap, agreement.tau
    if tau is None or gap is None:
        return [name, str(agreement.subnets), *[MISSING] * 5]
    mean = MISSING if gap.value is None else f"{100 * gap.value:+.2f} ({_points(gap)})"
    taus = (tau.inherited, tau.uncalibrated, tau.macs, tau.lead_over_macs)
    return [name, str(agreement.subnets), mean, *map(_tau, taus)]


def subnet_rows(study: RankingRecord) -> list[list[str]]:
    """Return each subnet under `SUBNET_COLUMNS`."""
    return [
        [
            subnet.arch.id,
            format_count(subnet.macs),
            "yes" if subnet.grouped else "",
            percent(subnet.inherited),
            percent(subnet.uncalibrated),
            percent(subnet.standalone),
            f"{100 * (subnet.inherited - subnet.standalone):+.1f}",
        ]
        for subnet in study.subnets
    ]


def baselines(study: BaselinesRecord) -> str:
    """State whether the search's network is ahead of the best baseline, or behind it."""
    best, side = study.baselines[study.best_baseline], "ahead of" if study.ahead else "behind"
    uncertain = abs(study.lead) <= 2 * study.lead_error
    lead = f"{100 * abs(study.lead):.1f} ± {200 * study.lead_error:.1f} points {side} {study.best_baseline}"
    means = f"{percent(best.test_top1.mean)}, mean of {len(best.seeds)} seeds"
    return (
        f"The search's network is {lead} on test images{', which is not significant' if uncertain else ''} "
        f"({percent(study.edgenas.test_top1)} of one run against {means})"
    )


def baseline_details(study: BaselinesRecord) -> list[str]:
    """Return the time of each baseline, which ones are left out, and from how many budgets the supernet pays."""
    best, share = study.baselines[study.best_baseline], study.seconds["each_baseline"] / study.seconds["total"]
    time = "as much time as" if abs(share - 1) < NEARLY else f"{share:.2f} of the time that"
    latencies = (f"{r.p50_us.mean / study.edgenas.p50_us:.2f} ({name})" for name, r in study.baselines.items())
    lead = (
        f"Each baseline and seed had {time} supernet, search and fine-tuning took; {study.best_baseline} is behind "
        f"with {best.seeds_behind} of {len(best.seeds)} seeds, which reach {_range(best.test_top1)}"
        f" (the ± is that of the test images alone); baselines have "
        f"{', '.join(latencies)} of the network's measured latency"
    )
    return [lead, *_started_from(study), *_left_out(study), crossing(study)]


def _started_from(study: BaselinesRecord) -> list[str]:
    """Return which networks began from pretrained weights."""
    if not study.supernet_from:
        return []
    began = "The supernet began from other weights"
    if study.standalone_from:
        began = f"The supernet and random networks of its space began from {study.standalone_from}"
    if not study.shelf and not study.standalone_from:
        return [f"{began}, the baselines from none"]
    shelf = f", the shelf ({', '.join(study.shelf)}) from its own" if study.shelf else ""
    return [f"{began}{shelf}, other baselines from none"]


def _range(spread: Spread) -> str:
    return f"{percent(spread.least, 2)} to {percent(spread.greatest, 2)}"


def _left_out(study: BaselinesRecord) -> list[str]:
    """Return the baselines that are left out, or left out for some seeds, with the reason."""
    sentences = []
    for name, seeds in study.left_out.items():
        some = f" for seed {', '.join(map(str, seeds))}" if name in study.baselines else ""
        reason = "no width and resolution of it is of equal latency with the chosen network"
        if name == "shelf":
            reason = f"none of {', '.join(study.shelf)} is within the chosen network's latency at any resolution"
        if name == "random-search":
            reason = "no other network of the space is of equal latency with the chosen one"
        sentences.append(f"{name} is left out{some}: {reason}")
    return sentences


def crossing(study: BaselinesRecord) -> str:
    """State from how many budgets the supernet takes less time than training from scratch, or why that is unknown."""
    costs = study.crossover
    once, per_budget, standalone = costs.once_seconds, costs.per_budget_seconds, costs.standalone_seconds
    if costs.verdict == "unknown" or once is None or per_budget is None or standalone is None:
        return f"The number of budgets from which the supernet pays is unknown: {costs.reason}"
    each = f"{duration(standalone)} to train one network from scratch for as many epochs and export it"
    if costs.standalone_range_seconds is not None:
        each += f" ({' to '.join(map(duration, costs.standalone_range_seconds))} by the spread of step times)"
    if costs.budgets is None:
        return (
            f"Each further budget takes {duration(per_budget)} of search, verification, fine-tuning and "
            f"export, no less than {each}: the supernet never pays by time alone"
        )
    low, high = costs.budgets
    return (
        f"Profiling and the supernet took {duration(once)} once, search, verification, fine-tuning and "
        f"export {duration(per_budget)} for each budget, against {each}: by time alone, it pays from "
        f"{low if low == high else f'{low} to {high}'} budget(s) on"
    )


def baseline_rows(study: BaselinesRecord) -> list[list[str]]:
    """Return the search's network and the baselines under `BASELINE_COLUMNS`."""
    chosen = study.edgenas
    scores = [percent(chosen.test_top1, 2), MISSING, percent(chosen.val_top1, 2)]
    rows = [["edgenas", chosen.network, *scores, ms(chosen.p50_us), duration(chosen.seconds), f"{chosen.tried:,}"]]
    rows += [
        [
            name,
            ", ".join(dict.fromkeys(seed.network for seed in baseline.seeds)),
            percent(baseline.test_top1.mean, 2),
            f"{_range(baseline.test_top1)}, {len(baseline.seeds)}",
            percent(baseline.val_top1.mean, 2),
            ms(baseline.p50_us.mean),
            duration(baseline.seconds.mean),
            ", ".join(str(seed.tried) for seed in baseline.seeds),
        ]
        for name, baseline in study.baselines.items()
    ]
    return rows


def time_rows(study: BaselinesRecord) -> list[list[str]]:
    """Return the total time by number of budgets, under `TIME_COLUMNS`."""
    return [
        [str(row.budgets), duration(row.shared_seconds), duration(row.standalone_seconds)]
        for row in study.crossover.table
    ]


def strategies(study: StrategiesRecord) -> str:
    """State which strategy reached most of the hypervolume, and which came next."""
    last = {name: result.by_evaluations.median[-1] for name, result in study.strategies.items()}
    first, *others = sorted(last, key=lambda name: -last[name])
    lead = f"{first} reached {last[first]:.1%} of the hypervolume in {study.evaluations} evaluations"
    return f"{lead}; next came {others[0]} with {last[others[0]]:.1%}" if others else lead
