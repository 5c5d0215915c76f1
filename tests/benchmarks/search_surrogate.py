"""Surrogate-assisted search against plain NSGA-II and random search, at few evaluations.

    OMP_NUM_THREADS=1 python tests/benchmarks/search_surrogate.py tables --out tables.jsonl
    EDGENAS_DATA=... OMP_NUM_THREADS=1 python tests/benchmarks/search_surrogate.py oracle --out oracle.jsonl
    EDGENAS_DATA=... OMP_NUM_THREADS=1 python tests/benchmarks/search_surrogate.py imagenet --out imagenet.jsonl

`tables`: spaces of 3^8 archs whose every objective is known, by structure; share of the true front's hypervolume.
`oracle`: once-for-all's published accuracy predictor of width 1.2 and its Note10 latency table; hypervolume.
`imagenet`: measured top-1 of 200 subnets of width 1.0 predicts that of the others; no search.

A row for each trial is appended to --out as it comes; the same command goes on with what is missing there. The
summary of all rows is printed as JSON. Equal seeds give equal rows, seconds aside.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import ofa_oracle
from search_machine import machine

from edgenas.files import append_jsonl, read_jsonl
from edgenas.search import optimise
from edgenas.search.front import hypervolume, non_dominated, reference_of
from edgenas.search.strategies.protocol import Floats, Genes
from edgenas.search.surrogate import Surrogate, quality_of
from edgenas.space.load import load_space

SEEDS = 10
STRATEGIES = ("surrogate", "nsga2", "random")
GENES, CHOICES = 8, 3
TABLE_MARKS = (50, 100, 200)
TABLE_POPULATION = {"surrogate": 5, "nsga2": 20, "random": 20}
GOALS = {50: 0.97, 100: 0.99, 200: 0.995}
ORACLE_EVALUATIONS, ORACLE_MARKS = 600, (100, 150, 200, 300, 600)
ORACLE_POPULATION = {"surrogate": 10, "nsga2": 30, "random": 30}
ORACLE_REFERENCE = (0.25, 80.0)
"""Error on the predictor's pictures (0.116 to 0.246 in the space), and milliseconds (11 to 74)."""
FITTED = 200


def main() -> None:
    args = parser().parse_args()
    done = {row["trial"] for row in read_jsonl(args.out)}
    for name, trial in TRIALS[args.what]():
        if name not in done:
            append_jsonl(args.out, {"trial": name, **trial()})
            print(name, file=sys.stderr)
    print(json.dumps({"machine": machine(), **SUMMARIES[args.what](read_jsonl(args.out))}, indent=2))


def parser() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("what", choices=TRIALS)
    arguments.add_argument("--out", type=Path, required=True, help="JSONL file to append to")
    return arguments


Trials = Iterator[tuple[str, Callable[[], dict[str, Any]]]]


def every_arch() -> Genes:
    rows = np.indices((CHOICES,) * GENES).reshape(GENES, -1).T
    return np.ascontiguousarray(rows, dtype=np.int64)


def table(structure: str, number: int) -> Floats:
    """Error and cost of every arch, shape (3^8, 2), drawn by `number`.

    width: each gene buys accuracy with falling returns, at a price of its own.
    depth: the first gene of each four says how many of the other three count.
    interactions: pairs of genes help or hinder each other, and the cost is a product of widths.
    nominal: choices without order, such as operators.
    noise: as width, with 3 % of the error's standard deviation as noise, as of training.
    """
    rng = np.random.default_rng([number, *structure.encode()])
    genes = every_arch()
    price = rng.uniform(0.2, 1.0, GENES)
    worth = rng.uniform(0.2, 1.0, GENES)
    bend = rng.uniform(0.3, 1.0, GENES)
    share = genes / (CHOICES - 1)
    if structure == "nominal":
        gain = rng.normal(size=(GENES, CHOICES))[np.arange(GENES), genes].sum(axis=1)
        gain += 0.3 * _pairs(rng, genes)
        cost = rng.uniform(0.2, 1.0, (GENES, CHOICES))[np.arange(GENES), genes].sum(axis=1)
    elif structure == "depth":
        counts = np.column_stack([genes[:, [4 * (g // 4)]] >= g % 4 for g in range(GENES)])
        active = np.where(np.arange(GENES) % 4 == 0, True, counts[:, :GENES])
        gain = (worth * (0.5 + 0.5 * share**bend) * active).sum(axis=1)
        cost = (price * (0.3 + 0.7 * share) * active).sum(axis=1)
    else:
        gain = (worth * share**bend).sum(axis=1)
        cost = (price * share).sum(axis=1)
        if structure == "interactions":
            gain += 0.3 * _pairs(rng, genes)
            cost = ((1 + genes[:, :-1]) * (1 + genes[:, 1:]) * price[1:]).sum(axis=1)
    error = 1 - np.tanh(gain / gain.std() / 3 - gain.mean() / gain.std() / 3)
    if structure == "noise":
        error += 0.03 * error.std() * rng.normal(size=len(error))
    return np.column_stack([error, cost])


def _pairs(rng: np.random.Generator, genes: Genes) -> Floats:
    """A random worth of every setting of every pair of genes in eight pairs, standard deviation about 1."""
    total = np.zeros(len(genes))
    for _ in range(8):
        first, second = rng.choice(GENES, 2, replace=False)
        total += rng.normal(size=(CHOICES, CHOICES))[genes[:, first], genes[:, second]]
    return total / np.sqrt(8)


STRUCTURES = ("width", "depth", "interactions", "nominal", "noise")


def table_trials() -> Trials:
    for seed in range(SEEDS):
        for structure in STRUCTURES:
            for strategy in STRATEGIES:
                yield f"{structure} {strategy} {seed}", lambda a=structure, b=strategy, c=seed: table_trial(a, b, c)


def table_trial(structure: str, strategy: str, seed: int) -> dict[str, Any]:
    """One search on the table drawn by the seed; the cost is exact."""
    values = table(structure, seed)
    reference = reference_of(values)
    place = CHOICES ** np.arange(GENES - 1, -1, -1)
    began = time.perf_counter()
    result = optimise(
        np.full(GENES, CHOICES),
        lambda genes: values[genes @ place],
        strategy=strategy,
        evaluations=max(TABLE_MARKS),
        population=TABLE_POPULATION[strategy],
        seed=seed,
        exact=lambda genes: values[genes @ place, 1:],
    )
    true = hypervolume(values[non_dominated(values)], reference)
    shares = {str(mark): hypervolume(result.objectives[:mark], reference) / true for mark in TABLE_MARKS}
    return {
        "structure": structure,
        "strategy": strategy,
        "seed": seed,
        "front": len(non_dominated(values)),
        "share": shares,
        "seconds": time.perf_counter() - began,
    }


def table_summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for structure in STRUCTURES:
        shares = {s: shares_of(rows, s, lambda row, wanted=structure: row["structure"] == wanted) for s in STRATEGIES}
        found[structure] = marks_against(shares, "share")
        for mark, goal in GOALS.items():
            reached = sum(row["share"][str(mark)] >= goal for row in shares["surrogate"].values())
            found[structure][str(mark)][f"seeds at {goal} or above"] = reached
    return found


def shares_of(rows: list[dict[str, Any]], strategy: str, wanted: Callable[[dict[str, Any]], bool]) -> dict[int, Any]:
    return {row["seed"]: row for row in rows if row["strategy"] == strategy and wanted(row)}


def marks_against(by_strategy: dict[str, dict[int, Any]], key: str) -> dict[str, Any]:
    """For each mark: median, least and greatest of each strategy, and in how many seeds the surrogate is above."""
    seeds = sorted(set.intersection(*(set(rows) for rows in by_strategy.values())))
    found: dict[str, Any] = {"seeds": len(seeds)}
    if not seeds:
        return found
    for mark in by_strategy["surrogate"][seeds[0]][key]:
        values = {name: np.array([rows[seed][key][mark] for seed in seeds]) for name, rows in by_strategy.items()}
        found[mark] = {name: spread(list_) for name, list_ in values.items()}
        for other in ("nsga2", "random"):
            found[mark][f"above {other} in"] = int((values["surrogate"] > values[other]).sum())
    found["seconds"] = spread(np.array([by_strategy["surrogate"][seed]["seconds"] for seed in seeds]))
    return found


def spread(values: Floats) -> dict[str, float]:
    return {"median": float(np.median(values)), "least": float(values.min()), "greatest": float(values.max())}


def oracle_trials() -> Trials:
    ofa_oracle.check()
    for seed in range(SEEDS):
        for strategy in STRATEGIES:
            yield f"{strategy} {seed}", lambda a=strategy, b=seed: oracle_trial(a, b)


def oracle_trial(strategy: str, seed: int) -> dict[str, Any]:
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
    volumes = {str(mark): hypervolume(result.objectives[:mark], ORACLE_REFERENCE) for mark in ORACLE_MARKS}
    seconds = time.perf_counter() - began
    return {"strategy": strategy, "seed": seed, "hypervolume": volumes, "seconds": seconds}


def oracle_summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    by_strategy = {strategy: shares_of(rows, strategy, lambda row: True) for strategy in STRATEGIES}
    found = marks_against(by_strategy, "hypervolume")
    first, last = (str(mark) for mark in (ORACLE_MARKS[1], ORACLE_MARKS[-1]))
    for other in ("nsga2", "random"):
        ahead = [
            by_strategy["surrogate"][seed]["hypervolume"][first] >= row["hypervolume"][last]
            for seed, row in by_strategy[other].items()
            if seed in by_strategy["surrogate"]
        ]
        found[f"at {first} as good as {other} at {last} in"] = sum(ahead)
    return found


def imagenet_trials() -> Trials:
    for seed in range(SEEDS):
        yield str(seed), lambda a=seed: imagenet_trial(a)


def imagenet_trial(seed: int) -> dict[str, Any]:
    """A surrogate of 200 measured subnets on the other ones."""
    space = load_space({"preset": "ofa-mbv3-w1.0", "resolution": [224]})
    with open(ofa_oracle.data() / "imagenet_top1_w1.0.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    genes = space.encode([space.from_ofa({k: _whole(row[k]) for k in ("ks", "e", "d", "r")}) for row in rows])
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
        "cpu_seconds": seconds,
    }


def _whole(text: str) -> list[int]:
    return [int(part) for part in text.split("-")]


def imagenet_summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        side: {key: spread(np.array([row[side][key] for row in rows])) for key in rows[0][side]}
        for side in ("others", "leave_one_out")
    }


TRIALS: dict[str, Callable[[], Trials]] = {
    "tables": table_trials,
    "oracle": oracle_trials,
    "imagenet": imagenet_trials,
}
SUMMARIES: dict[str, Callable[[list[dict[str, Any]]], Any]] = {
    "tables": table_summary,
    "oracle": oracle_summary,
    "imagenet": imagenet_summary,
}

if __name__ == "__main__":
    main()
