"""One nsga2 run on once-for-all's published predictor and the Note10's table, against six runs of its own finder.

    EDGENAS_DATA=... OMP_NUM_THREADS=1 python tests/benchmarks/search_oracle.py --evaluations 60000 --out oracle.jsonl

Best predicted top-1 under each of six budgets, out of one run; the finder's come from six runs with 300,600
evaluations and 197 s in all. Seconds of the wall and of the processor (one thread) count the oracle in. Rows are
appended to --out as they come; the same command goes on with what is missing there. The summary is printed as JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from ofa_oracle import Top1, check, latency_ms, space
from search_machine import machine

from edgenas.files import append_jsonl, read_jsonl
from edgenas.search import optimise

BUDGETS_MS = (18, 22, 26, 30, 40, 50)
FINDER_TOP1 = (79.80609, 81.25655, 82.18987, 82.83031, 83.88330, 84.62045)
SECONDS = 10.0


def main() -> None:
    args = parser().parse_args()
    check()
    done = {(row["evaluations"], row["strategy"], row["seed"]) for row in read_jsonl(args.out)}
    top1, latency = Top1(), latency_ms("note10")
    for seed in range(args.seeds):
        if (args.evaluations, args.strategy, seed) not in done:
            append_jsonl(args.out, trial(seed, args, top1, latency))
    print(json.dumps(summary(args), indent=2))


def trial(seed: int, args: argparse.Namespace, top1: Any, latency: Any) -> dict[str, Any]:
    wall, processor = time.perf_counter(), time.process_time()
    result = optimise(
        space().n_choices,
        lambda genes: np.column_stack([100 - top1(genes), latency(genes)]),
        strategy=args.strategy,
        evaluations=args.evaluations,
        population=args.population,
        seed=seed,
        repair=space().canonical,
    )
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    error, ms = result.objectives.T
    best = [100 - float(error[ms <= budget].min()) for budget in BUDGETS_MS]
    return {
        "evaluations": args.evaluations,
        "strategy": args.strategy,
        "seed": seed,
        "top1": [round(value, 5) for value in best],
        "ahead": [round(value - finder, 5) for value, finder in zip(best, FINDER_TOP1, strict=True)],
        "seconds": round(wall, 2),
        "processor_seconds": round(processor, 2),
        "front": len(result.front),
    }


def summary(args: argparse.Namespace) -> dict[str, Any]:
    rows = [row for row in read_jsonl(args.out) if row["strategy"] == args.strategy]
    rows = [row for row in rows if row["evaluations"] == args.evaluations and row["seed"] < args.seeds]
    ahead = np.array([row["ahead"] for row in rows])
    return {
        "machine": machine(),
        "strategy": args.strategy,
        "evaluations": args.evaluations,
        "population": args.population,
        "seeds": len(rows),
        "budgets_ms": BUDGETS_MS,
        "finder_top1": FINDER_TOP1,
        "ahead_mean": ahead.mean(axis=0).round(4).tolist(),
        "ahead_min": ahead.min(axis=0).round(4).tolist(),
        "seeds_ahead_at_all": int((ahead >= 0).all(axis=1).sum()),
        "seeds_within_10_s": sum(row["seconds"] <= SECONDS for row in rows),
        "seconds_median": float(np.median([row["seconds"] for row in rows])),
        "processor_seconds_median": float(np.median([row["processor_seconds"] for row in rows])),
        "rows": rows,
    }


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--out", type=Path, required=True, help="rows, appended")
    options.add_argument("--evaluations", type=int, default=60_000)
    options.add_argument("--population", type=int, default=100)
    options.add_argument("--strategy", default="nsga2")
    options.add_argument("--seeds", type=int, default=10)
    return options


if __name__ == "__main__":
    main()
