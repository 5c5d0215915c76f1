"""What the commands of `edgenas study` print."""

from __future__ import annotations

from pathlib import Path

from edgenas.display import print_line, print_table
from edgenas.records.baselines import BaselinesRecord
from edgenas.records.ranking import RankingRecord
from edgenas.records.strategies import MedianSpread, StrategiesRecord
from edgenas.report import study_findings
from edgenas.report.search_findings import offspring


def print_ranking(study: RankingRecord, folder: Path) -> None:
    """Print taus and gaps, every subnet, and the verdict."""
    print_table(study_findings.RANKING_COLUMNS, study_findings.ranking_rows(study))
    print()
    print_table(
        study_findings.SUBNET_COLUMNS, study_findings.subnet_rows(study), right=study_findings.SUBNET_COLUMNS[3:]
    )
    print()
    print(*(f"{line}." for line in (study_findings.ranking(study), *study_findings.ranking_details(study))), sep="\n")
    _print_files(folder, "json", "csv")


def print_baselines(study: BaselinesRecord, folder: Path) -> None:
    """Print the chosen network and the baselines, total time by budgets, and the verdict."""
    print_table(
        study_findings.BASELINE_COLUMNS,
        study_findings.baseline_rows(study),
        right=study_findings.BASELINE_COLUMNS[2:3],
    )
    if by_budgets := study_findings.time_rows(study):
        print()
        print_table(study_findings.TIME_COLUMNS, by_budgets, right=study_findings.TIME_COLUMNS)
    print()
    print(
        *(f"{line}." for line in (study_findings.baselines(study), *study_findings.baseline_details(study))), sep="\n"
    )
    _print_files(folder, "json", "csv")


def print_strategies(result: StrategiesRecord, folder: Path) -> None:
    """Print a line for each strategy: its share of the hypervolume by number of evaluations, and its seconds."""
    strategies = result.strategies
    marks = list(next(iter(strategies.values())).at)
    columns = ["strategy", "seeds", *(f"at {mark}" for mark in marks), "seconds"]
    rows = [
        [
            name,
            str(len(strategy.seeds)),
            *(_spread(strategy.at[mark], 3) for mark in marks),
            _spread(strategy.seconds, 1),
        ]
        for name, strategy in strategies.items()
    ]
    print("share of the hypervolume of all trials together: median (least to greatest)\n")
    print_table(columns, rows, right=columns[1:])
    for strategy in strategies.values():
        if origins := offspring(strategy.origins):
            print()
            print_line(f"{origins}.")
    _print_files(folder, "json")


def _spread(spread: MedianSpread, digits: int) -> str:
    return f"{spread.median:.{digits}f} ({spread.least:.{digits}f} to {spread.greatest:.{digits}f})"


def _print_files(folder: Path, *endings: str) -> None:
    print(f"\nfigure   {folder}/{folder.name}.png")
    print(f"all      {folder}/{', '.join(f'{folder.name}.{ending}' for ending in endings)}")
