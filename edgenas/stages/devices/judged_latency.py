"""The verdict on the latency of a file that was timed in a session: that of the budget with the worst one."""

from __future__ import annotations

from collections.abc import Sequence

from edgenas.budget import Budget
from edgenas.profiling.measurement import Measurement
from edgenas.profiling.verdict import VERDICTS, Judgement, judge_measured
from edgenas.records.export import JudgedLatency, TimedLatency
from edgenas.stages.devices.measuring import Session


def judged_latency(measured: Measurement, session: Session, budgets: Sequence[Budget]) -> JudgedLatency:
    """Compare the deployed file with every latency budget of a device.

    Args:
        measured: measurement of the file.
        session: the session that it was measured in.
        budgets: budgets of the device.
    """
    judgements = [judge_measured(measured, budget, session.slowdown) for budget in budgets]
    judgement = decisive(judgements) if judgements else None
    return JudgedLatency(
        verdict=judgement.verdict if judgement else None,
        limited=judgement.budget.quantity.statistic if judgement else None,
        limit_us=judgement.budget.limit if judgement else None,
        value_us=judgement.value_us if judgement else None,
        upper_us=judgement.upper_us if judgement else None,
        sessions=session.sessions,
        repeated=session.repeated,
    )


def decisive(judgements: Sequence[Judgement]) -> Judgement:
    """Return the judgement with the worst verdict; of several, the one that is nearest to its limit or most over it."""

    def severity(judgement: Judgement) -> tuple[int, float]:
        share = (judgement.upper_us or judgement.value_us) / judgement.budget.limit
        return VERDICTS.index(judgement.verdict), share

    return max(judgements, key=severity)


def timed_latency(measured: Measurement, session: Session, budgets: Sequence[Budget]) -> TimedLatency:
    """Return the latency of a file on a device with its verdict, see `judged_latency`."""
    return TimedLatency(
        **dict(judged_latency(measured, session, budgets)),
        p50_us=measured.p50_us,
        p95_us=measured.p95_us,
        ci_low_us=measured.ci_low_us,
        ci_high_us=measured.ci_high_us,
        count=measured.count,
        warnings=measured.warnings,
        model_rss_bytes=measured.model_rss_bytes,
        process_rss_bytes=measured.process_rss_bytes,
    )
