"""The cost of a search beside `evaluate`: time beyond pymoo's own, and growth with the evaluations.

    OMP_NUM_THREADS=1 python tests/benchmarks/search_overhead.py

`evaluate` is a sum, timed and taken off. pymoo's own is the time inside its algorithm's mating and survival. Seconds
are the processor's, so that other load does not count. Memory is traced by tracemalloc, in a run of its own. The
result is printed as JSON; figures are medians over the seeds.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.mating import Mating
from search_report import goal, print_report

from edgenas.search import optimise
from edgenas.search.strategies.protocol import Floats, Genes

N_CHOICES = np.array([5] + [3] * 45)
POPULATION = 100
CORE_MS, GROWTH = 3.0, 1.5


class Clock:
    """Processor seconds inside the functions it wraps."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._inside = False

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, whose time is added up; calls from within another timed one count once."""

        def wrapped(*arguments: Any, **named: Any) -> Any:
            if self._inside:
                return function(*arguments, **named)
            self._inside, began = True, time.process_time()
            try:
                return function(*arguments, **named)
            finally:
                self._inside, self.seconds = False, self.seconds + time.process_time() - began

        return wrapped


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--evaluations", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    options.add_argument("--objectives", type=int, default=2)
    options.add_argument("--strategy", default="nsga2")
    options.add_argument("--repeats", type=int, default=3)
    args = options.parse_args()
    timed(args.evaluations[0], args, seed=0)
    rows = [row(evaluations, args) for evaluations in args.evaluations]
    settings = {
        "strategy": args.strategy,
        "objectives": args.objectives,
        "population": POPULATION,
        "genes": len(N_CHOICES),
        "seeds": list(range(args.repeats)),
    }
    growth = rows[-1]["us_per_evaluation"] / rows[0]["us_per_evaluation"]
    print_report(
        goals_of(rows, growth), {**settings, "time_per_evaluation_last_to_first": round(growth, 3), "rows": rows}
    )


def goals_of(rows: list[dict[str, Any]], growth: float) -> list[dict[str, Any]]:
    """Of medians over the seeds, so each is met or not."""
    slow = [row["core_ms_per_100"] <= CORE_MS for row in rows]
    memory = rows[-1]["peak_bytes_per_evaluation"] <= rows[0]["peak_bytes_per_evaluation"]
    ends = f"{rows[0]['evaluations']} to {rows[-1]['evaluations']} evaluations"
    return [
        goal(f"at most {CORE_MS:g} ms per 100 evaluations beyond pymoo's own, at each number of evaluations", slow),
        goal(f"time per evaluation grows at most {GROWTH:g} times from {ends}", [growth <= GROWTH]),
        goal(f"memory per evaluation does not grow from {ends}", [memory]),
    ]


def row(evaluations: int, args: argparse.Namespace) -> dict[str, Any]:
    trials = [timed(evaluations, args, seed) for seed in range(args.repeats)]
    total, pymoo, evaluating = np.median(trials, axis=0).tolist()
    tracemalloc.start()
    search(evaluations, args, seed=0, evaluate=objectives(args.objectives))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    batches = evaluations / 100
    return {
        "evaluations": evaluations,
        "us_per_evaluation": round((total - evaluating) / evaluations * 1e6, 2),
        "pymoo_ms_per_100": round(pymoo / batches * 1e3, 3),
        "core_ms_per_100": round((total - evaluating - pymoo) / batches * 1e3, 3),
        "peak_bytes_per_evaluation": round(peak / evaluations),
    }


def timed(evaluations: int, args: argparse.Namespace, seed: int) -> tuple[float, float, float]:
    """Processor seconds of the whole search, inside pymoo, and inside `evaluate`."""
    pymoo, evaluating = Clock(), Clock()
    began = time.process_time()
    with inside(pymoo):
        search(evaluations, args, seed, evaluating.timed(objectives(args.objectives)))
    return time.process_time() - began, pymoo.seconds, evaluating.seconds


@contextmanager
def inside(clock: Clock) -> Iterator[None]:
    mating, advance = Mating.do, NSGA2.advance
    Mating.do, NSGA2.advance = clock.timed(mating), clock.timed(advance)
    try:
        yield
    finally:
        Mating.do, NSGA2.advance = mating, advance


def search(evaluations: int, args: argparse.Namespace, seed: int, evaluate: Callable[[Genes], Floats]) -> None:
    optimise(N_CHOICES, evaluate, strategy=args.strategy, evaluations=evaluations, population=POPULATION, seed=seed)


def objectives(number: int) -> Callable[[Genes], Floats]:
    """Conflicting sums: error falls with every gene, each of the others rises with its own weights."""
    gain = np.linspace(0.2, 1.0, len(N_CHOICES))
    costs = np.random.default_rng(0).uniform(0.2, 1.0, size=(len(N_CHOICES), number - 1))

    def evaluate(genes: Genes) -> Floats:
        share = genes / (N_CHOICES - 1)
        return np.column_stack([np.exp(-(np.sqrt(share) @ gain) / 10), share @ costs])

    return evaluate


if __name__ == "__main__":
    main()
