"""One nsga2 run on once-for-all's published predictor and the Note10's table, against six runs of its own finder.

    EDGENAS_DATA=... OMP_NUM_THREADS=1 python tests/benchmarks/search_oracle.py --out oracle.jsonl

Best predicted top-1 under each of six budgets, out of one run; the finder's come from six runs with 300,600
evaluations and 197 s in all. Seconds of the wall and of the processor (one thread) count the oracle in. Rows are
appended to --out as they come; the same command adds what is missing there. The summary is printed as JSON.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from ofa_oracle import Top1, check, latency_ms, space
from search_report import goal, print_report

from edgenas.files import append_jsonl, read_jsonl
from edgenas.search import optimise

BUDGETS_MS = (18, 22, 26, 30, 40, 50)
FINDER_TOP1 = (79.80609, 81.25655, 82.18987, 82.83031, 83.88330, 84.62045)
SECONDS = 10.0
NEEDED_OF_TEN = 9

Row = dict[str, Any]


def main() -> None:
    args = parser().parse_args()
    check()
    top1, latency = Top1(), latency_ms("note10")
    for evaluations in args.evaluations:
        known = {row["seed"] for row in rows(args, evaluations)}
        for seed in range(args.first_seed, args.first_seed + args.seeds):
            if seed not in known:
                append_jsonl(args.out, trial(seed, evaluations, args, top1, latency))
    found = {evaluations: rows(args, evaluations) for evaluations in args.evaluations}
    settings = {"strategy": args.strategy, "population": args.population, "budgets_ms": BUDGETS_MS}
    figures = {str(evaluations): summary(of_all) for evaluations, of_all in found.items()}
    goals = [each for evaluations, of_all in found.items() for each in goals_of(evaluations, of_all)]
    print_report(goals, {**settings, "finder_top1": FINDER_TOP1, "evaluations": figures})


def rows(args: argparse.Namespace, evaluations: int) -> list[Row]:
    """Return the requested rows that --out has."""
    wanted = {"strategy": args.strategy, "population": args.population, "evaluations": evaluations}
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    return [row for row in read_jsonl(args.out) if wanted.items() <= row.items() and row["seed"] in seeds]


def trial(seed: int, evaluations: int, args: argparse.Namespace, top1: Any, latency: Any) -> Row:
    wall, processor = time.perf_counter(), time.process_time()
    result = optimise(
        space().n_choices,
        lambda genes: np.column_stack([100 - top1(genes), latency(genes)]),
        strategy=args.strategy,
        evaluations=evaluations,
        population=args.population,
        seed=seed,
        repair=space().canonical,
    )
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    error, ms = result.objectives.T
    best = [100 - float(error[ms <= budget].min()) for budget in BUDGETS_MS]
    return {
        "evaluations": evaluations,
        "strategy": args.strategy,
        "population": args.population,
        "seed": seed,
        "top1": [round(value, 5) for value in best],
        "ahead": [round(value - finder, 5) for value, finder in zip(best, FINDER_TOP1, strict=True)],
        "seconds": round(wall, 2),
        "processor_seconds": round(processor, 2),
        "front": len(result.front),
    }


def goals_of(evaluations: int, of_all: list[Row]) -> list[dict[str, Any]]:
    needed = -(-NEEDED_OF_TEN * len(of_all) // 10)
    ahead = [min(row["ahead"]) >= 0 for row in of_all]
    quick = [row["seconds"] <= SECONDS for row in of_all]
    return [
        goal(f"{evaluations} evaluations: at or above the finder at all six budgets", ahead, needed=needed),
        goal(f"{evaluations} evaluations: at most {SECONDS:g} s", quick, needed=needed),
    ]


def summary(of_all: list[Row]) -> dict[str, Any]:
    ahead = np.array([row["ahead"] for row in of_all])
    return {
        "seeds": [row["seed"] for row in of_all],
        "ahead_mean": ahead.mean(axis=0).round(4).tolist(),
        "ahead_min": ahead.min(axis=0).round(4).tolist(),
        "seconds_median": float(np.median([row["seconds"] for row in of_all])),
        "processor_seconds_median": float(np.median([row["processor_seconds"] for row in of_all])),
        "rows": [{key: row[key] for key in ("seed", "top1", "ahead", "seconds", "front")} for row in of_all],
    }


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--out", type=Path, required=True, help="rows, appended")
    options.add_argument("--evaluations", type=int, nargs="+", default=[60_000, 30_000])
    options.add_argument("--population", type=int, default=100)
    options.add_argument("--strategy", default="nsga2")
    options.add_argument("--seeds", type=int, default=10)
    options.add_argument("--first-seed", type=int, default=0)
    return options


if __name__ == "__main__":
    main()
