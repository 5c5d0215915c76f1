"""Surrogate-assisted search against plain NSGA-II and random search, at few evaluations.

    EDGENAS_DATA=... OMP_NUM_THREADS=1 python tests/benchmarks/search_surrogate.py --out surrogate.jsonl

`tables`: spaces of 3^8 archs whose every objective is known, by structure; share of the true front's hypervolume.
`oracle`: once-for-all's published accuracy predictor of width 1.2 and its Note10 latency table; hypervolume.
`imagenet`: measured top-1 of 200 subnets of width 1.0 predicts that of the others; no search.

Any of the three may be asked for alone; `tables` needs no data. A row for each trial is appended to --out as it
comes; the same command adds what is missing there. The summary is printed as JSON. Equal seeds give equal
rows, seconds aside.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import ofa_oracle
from gene_tables import CHOICES, GENES, STRUCTURES, row_of, table
from search_report import goal, print_report

from edgenas.files import append_jsonl, read_jsonl
from edgenas.search import optimise
from edgenas.search.front import hypervolume, non_dominated, reference_of
from edgenas.search.gaussian_process import Surrogate, quality_of
from edgenas.search.strategies.protocol import Floats
from edgenas.space.loading import load_space
from edgenas.space.ofa_settings import arch_from_ofa

STRATEGIES = ("surrogate", "nsga2", "random")
OTHERS = STRATEGIES[1:]
TABLE_POPULATION = {"surrogate": 5, "nsga2": 20, "random": 20}
TABLE_GOALS = {50: 0.97, 100: 0.99, 200: 0.995}
WHOLE = 1 - 1e-9
"""Share of the hypervolume from which on nothing of the front is missing."""
ORACLE_EVALUATIONS, ORACLE_MARKS, EARLY = 600, (100, 150, 200, 300, 600), 150
ORACLE_POPULATION = {"surrogate": 10, "nsga2": 30, "random": 30}
ORACLE_REFERENCE = (0.25, 80.0)
"""Error on the predictor's images (0.116 to 0.246 in the space), and milliseconds (11 to 74)."""
FITTED = 200
TAU_GOAL, RMSE_GOAL = 0.92, 0.16

Row = dict[str, Any]
Trials = Iterator[tuple[str, Callable[[], Row]]]
Goals = list[dict[str, Any]]


def main() -> None:
    args = parser().parse_args()
    if unknown := set(args.what) - set(BENCHMARKS):
        raise SystemExit(f"{', '.join(unknown)}: expected any of {', '.join(BENCHMARKS)}")
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    goals: Goals = []
    figures: dict[str, Any] = {"seeds": list(seeds)}
    for what in dict.fromkeys(args.what) or BENCHMARKS:
        trials, summary = BENCHMARKS[what]
        known = {row["trial"]: row for row in read_jsonl(args.out)}
        rows = []
        for name, trial in trials(seeds):
            if name not in known:
                known[name] = {"trial": name, **trial()}
                append_jsonl(args.out, known[name])
                print(name, file=sys.stderr)
            rows.append(known[name])
        reached, figures[what] = summary(rows)
        goals += reached
    print_report(goals, figures)


def parser() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    # Python 3.11 checks an empty list against `choices`, too.
    arguments.add_argument("what", nargs="*", metavar="{tables,oracle,imagenet}")
    arguments.add_argument("--out", type=Path, required=True, help="JSONL file to append to")
    arguments.add_argument("--seeds", type=int, default=10)
    arguments.add_argument("--first-seed", type=int, default=0)
    return arguments


def table_trials(seeds: Sequence[int]) -> Trials:
    for seed in seeds:
        for structure in STRUCTURES:
            for strategy in STRATEGIES:
                yield (
                    f"tables {structure} {strategy} {seed}",
                    lambda a=structure, b=strategy, c=seed: table_trial(a, b, c),
                )


def table_trial(structure: str, strategy: str, seed: int, evaluations: int = max(TABLE_GOALS)) -> Row:
    """One search on the table drawn by the seed; the cost is exact."""
    values = table(structure, seed)
    reference = reference_of(values)
    began = time.perf_counter()
    result = optimise(
        np.full(GENES, CHOICES),
        lambda genes: values[row_of(genes)],
        strategy=strategy,
        evaluations=evaluations,
        population=TABLE_POPULATION[strategy],
        seed=seed,
        exact=lambda genes: values[row_of(genes), 1:],
    )
    seconds = time.perf_counter() - began
    true = hypervolume(values[non_dominated(values)], reference)
    shares = {str(mark): hypervolume(result.objectives[:mark], reference) / true for mark in TABLE_GOALS}
    front = len(non_dominated(values))
    return {
        "structure": structure,
        "strategy": strategy,
        "seed": seed,
        "front": front,
        "at": shares,
        "seconds": seconds,
    }


def table_summary(rows: list[Row]) -> tuple[Goals, Any]:
    goals: Goals = []
    found: dict[str, Any] = {}
    for structure in STRUCTURES:
        own = by_strategy([row for row in rows if row["structure"] == structure])
        found[structure] = spreads(own, list(TABLE_GOALS))
        for mark, wanted in TABLE_GOALS.items():
            enough = [share >= wanted for share in at(own["surrogate"], mark)]
            goals.append(goal(f"tables, {structure}: share at {mark} evaluations at least {wanted}", enough))
            goals += goals_above(own, mark, f"tables, {structure}", WHOLE)
    return goals, found


def oracle_trials(seeds: Sequence[int]) -> Trials:
    ofa_oracle.check()
    for seed in seeds:
        for strategy in STRATEGIES:
            yield f"oracle {strategy} {seed}", lambda a=strategy, b=seed: oracle_trial(a, b)


def oracle_trial(strategy: str, seed: int) -> Row:
    """One search on once-for-all's predictor; the latency is exact."""
    space, top1, latency_ms = ofa_oracle.space(), ofa_oracle.Top1(), ofa_oracle.latency_ms("note10")
    began = time.perf_counter()
    result = optimise(
        space.n_choices,
        lambda genes: np.column_stack([1 - top1(genes) / 100, latency_ms(genes)]),
        strategy=strategy,
        evaluations=ORACLE_EVALUATIONS,
        population=ORACLE_POPULATION[strategy],
        seed=seed,
        repair=space.canonical,
        exact=lambda genes: latency_ms(genes)[:, None],
    )
    seconds = time.perf_counter() - began
    volumes = {str(mark): hypervolume(result.objectives[:mark], ORACLE_REFERENCE) for mark in ORACLE_MARKS}
    return {"strategy": strategy, "seed": seed, "at": volumes, "seconds": seconds}


def oracle_summary(rows: list[Row]) -> tuple[Goals, Any]:
    own = by_strategy(rows)
    goals = goals_above(own, ORACLE_EVALUATIONS, "oracle")
    for other in OTHERS:
        level = at(own["surrogate"], EARLY) >= at(own[other], ORACLE_EVALUATIONS)
        goals.append(goal(f"oracle: at {EARLY} evaluations at least {other}'s at {ORACLE_EVALUATIONS}", level.tolist()))
    return goals, spreads(own, ORACLE_MARKS)


def by_strategy(rows: list[Row]) -> dict[str, list[Row]]:
    """Rows of each strategy in the order of seeds."""
    return {name: [row for row in rows if row["strategy"] == name] for name in STRATEGIES}


def at(rows: list[Row], mark: int) -> Floats:
    return np.array([row["at"][str(mark)] for row in rows])


def goals_above(own: dict[str, list[Row]], mark: int, what: str, whole: float = np.inf) -> Goals:
    """Above each other strategy; who has found the whole front cannot be above another who has."""
    ours = at(own["surrogate"], mark)
    return [
        goal(f"{what}: at {mark} evaluations above {other}", ((ours > at(own[other], mark)) | (ours >= whole)).tolist())
        for other in OTHERS
    ]


def spreads(own: dict[str, list[Row]], marks: Sequence[int]) -> dict[str, Any]:
    """Of each strategy at each mark, and the seconds of its whole trials."""
    found: dict[str, Any] = {str(mark): {name: spread(at(own[name], mark)) for name in STRATEGIES} for mark in marks}
    found["seconds"] = {name: spread([row["seconds"] for row in own[name]]) for name in STRATEGIES}
    return found


def spread(values: Sequence[float] | Floats) -> dict[str, float]:
    figures = {"median": np.median(values), "least": np.min(values), "greatest": np.max(values)}
    return {name: float(f"{value:.5g}") for name, value in figures.items()}


def imagenet_trials(seeds: Sequence[int]) -> Trials:
    for seed in seeds:
        yield f"imagenet {seed}", lambda a=seed: imagenet_trial(a)


def imagenet_trial(seed: int) -> Row:
    """A surrogate of 200 measured subnets on the other ones."""
    space = load_space({"preset": "ofa-mbv3-w1.0", "resolution": [224]})
    with open(ofa_oracle.data() / "imagenet_top1_w1.0.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    genes = space.encode([arch_from_ofa(space, {k: _whole(row[k]) for k in ("ks", "e", "d", "r")}) for row in rows])
    top1 = np.array([float(row["top1_mean"]) for row in rows])
    # Rows that differ in inactive blocks alone are one subnet, which must not be on both sides.
    genes, places = np.unique(genes, axis=0, return_inverse=True)
    top1 = np.bincount(places.ravel(), top1) / np.bincount(places.ravel())
    order = np.random.default_rng(seed).permutation(len(genes))
    fitted, others = order[:FITTED], order[FITTED:]
    began = time.process_time()
    surrogate = Surrogate(space.n_choices, space.canonical).fit(genes[fitted], top1[fitted])
    seconds = time.process_time() - began
    on_others = quality_of(*surrogate.predict(genes[others]), top1[others])
    return {
        "seed": seed,
        "kind": surrogate.kind_,
        "others": asdict(on_others),
        "leave_one_out": asdict(surrogate.quality_),
        "processor_seconds": seconds,
    }


def _whole(text: str) -> list[int]:
    return [int(part) for part in text.split("-")]


def imagenet_summary(rows: list[Row]) -> tuple[Goals, Any]:
    goals = [
        goal(f"imagenet: tau at least {TAU_GOAL}", [row["others"]["kendall_tau"] >= TAU_GOAL for row in rows]),
        goal(f"imagenet: error at most {RMSE_GOAL} points", [row["others"]["rmse"] <= RMSE_GOAL for row in rows]),
    ]
    figures: dict[str, Any] = {
        side: {key: spread([row[side][key] for row in rows]) for key in rows[0][side]}
        for side in ("others", "leave_one_out")
    }
    return goals, {**figures, "processor_seconds": spread([row["processor_seconds"] for row in rows])}


BENCHMARKS: dict[str, tuple[Callable[[Sequence[int]], Trials], Callable[[list[Row]], tuple[Goals, Any]]]] = {
    "tables": (table_trials, table_summary),
    "oracle": (oracle_trials, oracle_summary),
    "imagenet": (imagenet_trials, imagenet_summary),
}

if __name__ == "__main__":
    main()
