"""Two devices in one search against two searches intersected, at equal evaluations.

    EDGENAS_DATA=... OMP_NUM_THREADS=1 python tests/benchmarks/search_devices.py --out devices.jsonl

Once-for-all's published predictor under budgets on a Samsung Note10 and on an i7-8700K. One search has the error and
both latencies as objectives and both budgets as constraints. Of the two, each has the error, one latency and one
budget, and half of the evaluations; what they found is put together, and what meets both budgets is kept. Counted are
the nets that meet both budgets and are non-dominated among those of their own side, and how many of these stay
non-dominated when both sides are put together. Rows are appended to --out; the summary is printed as JSON.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from ofa_oracle import Top1, check, latency_ms, space
from search_report import goal, print_report

from edgenas.files import append_jsonl, read_jsonl
from edgenas.search import optimise
from edgenas.search.front import hypervolume, non_dominated
from edgenas.search.strategies.protocol import Floats, Genes

BUDGETS_MS = {"note10": 30.0, "i7": 15.5}
REFERENCE = [22.0, 30.0, 15.5]
"""Error in percent, and both latencies in ms: of the hypervolume."""
MEASURES = {
    "front": "many nets that meet both budgets and are non-dominated",
    "stay": "many that stay so beside the others'",
    "hypervolume": "much hypervolume",
}


class Oracle:
    """Error in percent and latencies in ms, shape (n, 1 + devices)."""

    def __init__(self) -> None:
        self._top1 = Top1()
        self._latencies = {device: latency_ms(device) for device in BUDGETS_MS}

    def values(self, genes: Genes, devices: list[str]) -> Floats:
        return np.column_stack([100 - self._top1(genes), *(self._latencies[device](genes) for device in devices)])

    def excess(self, genes: Genes, devices: list[str]) -> Floats:
        return np.column_stack([self._latencies[device](genes) / BUDGETS_MS[device] - 1 for device in devices])

    def search(self, devices: list[str], evaluations: int, seed: int, strategy: str) -> Floats:
        """Error and both latencies of all that was evaluated."""
        result = optimise(
            space().n_choices,
            lambda genes: self.values(genes, devices),
            constraints=lambda genes: self.excess(genes, devices),
            strategy=strategy,
            evaluations=evaluations,
            population=100,
            seed=seed,
            repair=space().canonical,
        )
        return self.values(result.genes, list(BUDGETS_MS))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--out", type=Path, required=True, help="rows, appended")
    options.add_argument("--evaluations", type=int, default=10_000)
    options.add_argument("--strategy", default="nsga2")
    options.add_argument("--seeds", type=int, default=10)
    args = options.parse_args()
    check()
    done = {(row["evaluations"], row["strategy"], row["seed"]) for row in read_jsonl(args.out)}
    oracle = Oracle()
    for seed in range(args.seeds):
        if (args.evaluations, args.strategy, seed) not in done:
            append_jsonl(args.out, trial(oracle, seed, args))
    rows = [row for row in read_jsonl(args.out) if row["strategy"] == args.strategy]
    rows = [row for row in rows if row["evaluations"] == args.evaluations and row["seed"] < args.seeds]
    goals = [
        goal(
            f"one search for both devices: at least as {much} as of two",
            [row["one"][key] >= row["two"][key] for row in rows],
        )
        for key, much in MEASURES.items()
    ]
    settings = {"budgets_ms": BUDGETS_MS, "evaluations": args.evaluations, "seeds": [row["seed"] for row in rows]}
    print_report(goals, {**settings, "rows": rows})


def trial(oracle: Oracle, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    one = front(oracle.search(list(BUDGETS_MS), args.evaluations, seed, args.strategy))
    halves = [oracle.search([device], args.evaluations // 2, seed, args.strategy) for device in BUDGETS_MS]
    two = front(np.unique(np.vstack(halves), axis=0))
    kept = non_dominated(np.vstack([one, two]))
    sides = {
        side: {
            "front": len(values),
            "stay": int(stays),
            "hypervolume": round(hypervolume(values, REFERENCE), 3),
            "best_top1": round(100 - float(values[:, 0].min()), 4),
        }
        for side, values, stays in (("one", one, (kept < len(one)).sum()), ("two", two, (kept >= len(one)).sum()))
    }
    return {"evaluations": args.evaluations, "strategy": args.strategy, "seed": seed, **sides}


def front(values: Floats) -> Floats:
    """Rows within both budgets that are non-dominated."""
    within = values[(values[:, 1:] <= list(BUDGETS_MS.values())).all(axis=1)]
    return within[non_dominated(within)]


if __name__ == "__main__":
    main()
