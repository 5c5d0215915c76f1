"""The parts of report.md that look back: on test images, on the supernet, on what the search was worth."""

from __future__ import annotations

from collections.abc import Sequence

from edgenas.markup import markdown_sentence
from edgenas.report import evidence, hindsight
from edgenas.report.markdown_pieces import folded, image, table
from edgenas.report.values import Run


def _finding(finding: str, details: Sequence[str]) -> str:
    return f"**{markdown_sentence(finding)}.** {markdown_sentence('. '.join(details))}."


def hindsight_section(run: Run, plots: Sequence[str]) -> list[str]:
    """The front on test images, and classes beside the largest subnet's."""
    if run.hindsight is None:
        return []
    rows = hindsight.change_rows(run.hindsight)
    alt = "Validation and test top-1 along the front" + ", and classes beside the largest subnet's" * bool(rows)
    return [
        "## In hindsight: optimism, and who paid for the speed",
        "",
        f"{markdown_sentence(hindsight.front_optimism(run))}.",
        "",
        f"{markdown_sentence(hindsight.paid(run))}.",
        *image("hindsight.png", alt, plots, before=[""]),
        *(["", *folded("By class, beside the largest subnet", table(hindsight.CHANGE_COLUMNS, rows))] if rows else []),
    ]


def trust_section(run: Run, plots: Sequence[str]) -> list[str]:
    """What subnets inherit, beside what they reach alone; none where `edgenas trust` was not run."""
    found = run.trust
    if found is None:
        return []
    return [
        "## Can inherited accuracies be trusted?",
        "",
        _finding(evidence.trusted(found), evidence.gaps(found)),
        "",
        *table(evidence.TRUST_COLUMNS, evidence.trust_rows(found)),
        *image("trust.png", "Inherited against standalone validation top-1", plots, before=[""]),
    ]


def worth_section(run: Run, plots: Sequence[str]) -> list[str]:
    """The search's network beside its rivals; none where `edgenas worth` was not run."""
    found = run.worth
    if found is None:
        return []
    by_budgets = evidence.cost_rows(found)
    return [
        "## Was the search worth it?",
        "",
        _finding(evidence.worthwhile(found), evidence.beside(found)),
        "",
        *table(evidence.WORTH_COLUMNS, evidence.worth_rows(found)),
        *(["", *table(evidence.COST_COLUMNS, by_budgets)] if by_budgets else []),
        *image("worth.png", "The search's network and its rivals; total time by budgets", plots, before=[""]),
    ]
