"""What `edgenas trust` and `edgenas worth` print."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgenas.display import print_table
from edgenas.report import study_findings
from edgenas.report.evidence_values import Trust, Worth


def print_trust(found: Mapping[str, Any], folder: Path) -> None:
    """Taus and gaps, every subnet, and the verdict."""
    values = Trust.model_validate(found)
    print_table(study_findings.RANKING_COLUMNS, study_findings.ranking_rows(values))
    print()
    print_table(
        study_findings.SUBNET_COLUMNS, study_findings.subnet_rows(values), right=study_findings.SUBNET_COLUMNS[3:]
    )
    print()
    print(*(f"{line}." for line in (study_findings.ranking(values), *study_findings.ranking_details(values))), sep="\n")
    _print_files(folder, "trust")


def print_worth(found: Mapping[str, Any], folder: Path) -> None:
    """The search's network and its rivals, total time by budgets, and the verdict."""
    values = Worth.model_validate(found)
    print_table(
        study_findings.BASELINE_COLUMNS,
        study_findings.baseline_rows(values),
        right=study_findings.BASELINE_COLUMNS[2:3],
    )
    if by_budgets := study_findings.time_rows(values):
        print()
        print_table(study_findings.TIME_COLUMNS, by_budgets, right=study_findings.TIME_COLUMNS)
    print()
    said = study_findings.baselines(values), *study_findings.baseline_details(values)
    print(*(f"{line}." for line in said), sep="\n")
    _print_files(folder, "worth")


def _print_files(folder: Path, name: str) -> None:
    print(f"\nfigure   {folder}/{name}.png")
    print(f"all      {folder}/{name}.json, {name}.csv")
