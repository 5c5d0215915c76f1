"""What `edgenas trust` and `edgenas worth` print."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgenas.display import print_table
from edgenas.report import evidence
from edgenas.report.evidence_values import Trust, Worth


def print_trust(found: Mapping[str, Any], folder: Path) -> None:
    """Taus and gaps, every subnet, and the verdict."""
    values = Trust.model_validate(found)
    print_table(evidence.TRUST_COLUMNS, evidence.trust_rows(values))
    print()
    print_table(evidence.SUBNET_COLUMNS, evidence.subnet_rows(values), right=evidence.SUBNET_COLUMNS[3:])
    print()
    print(*(f"{line}." for line in (evidence.trusted(values), *evidence.gaps(values))), sep="\n")
    _print_files(folder, "trust")


def print_worth(found: Mapping[str, Any], folder: Path) -> None:
    """The search's network and its rivals, total time by budgets, and the verdict."""
    values = Worth.model_validate(found)
    print_table(evidence.WORTH_COLUMNS, evidence.worth_rows(values), right=evidence.WORTH_COLUMNS[2:3])
    if by_budgets := evidence.cost_rows(values):
        print()
        print_table(evidence.COST_COLUMNS, by_budgets, right=evidence.COST_COLUMNS)
    print()
    said = evidence.worthwhile(values), *evidence.beside(values)
    print(*(f"{line}." for line in said), sep="\n")
    _print_files(folder, "worth")


def _print_files(folder: Path, name: str) -> None:
    print(f"\nfigure   {folder}/{name}.png")
    print(f"all      {folder}/{name}.json, {name}.csv")
