"""An ImageNet front without training: measured accuracies of 1,474 subnets tell that of all 2 × 10^19 others.

    python examples/imagenet_ofa.py
    python examples/imagenet_ofa.py --table i7-8700k/unknown
    python examples/imagenet_ofa.py --predictor runs/mine/latency/here/predictor.json

The space is once-for-all's MobileNetV3 of width 1.0 at 224 pixels. What a subnet costs is told by a shipped latency
table or one of your own, by a fitted predictor, or, without either, in MACs.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgenas.latency.gene_table import GeneTable
from edgenas.latency.predictor import LatencyPredictor
from edgenas.latency.table import find_table
from edgenas.search import optimise
from edgenas.search.accuracy import MeasuredAccuracy, load_accuracy_table
from edgenas.space.cost import cost
from edgenas.space.load import load_space
from edgenas.space.space import Genes, SearchSpace

CLASSES = 1000
SPACE = {"preset": "ofa-mbv3-w1.0", "resolution": [224]}
Price = Callable[[Genes], np.ndarray]


def main() -> None:
    arguments = parser().parse_args()
    space = load_space(SPACE)
    accuracy = MeasuredAccuracy(space).fit(load_accuracy_table("ofa-mbv3-w1.0-imagenet", space))
    quality = accuracy.quality_
    unit, price = prices(space, arguments)
    result = optimise(
        space.n_choices,
        lambda genes: np.column_stack([accuracy.error(genes), price(genes)]),
        evaluations=arguments.evaluations,
        seed=arguments.seed,
        repair=space.canonical,
    )
    front = result.genes[result.front]
    top1, deviation = accuracy.predict(front)
    cheap = price(front)
    order = np.argsort(cheap)
    shown = order[np.unique(np.linspace(0, len(order) - 1, arguments.rows).round().astype(int))]
    print(
        f"accuracy: {quality.rows} measured subnets; leaving one out, RMSE {quality.rmse:.3f} points, "
        f"tau {quality.kendall_tau:.3f}, {quality.coverage_90:.0%} inside their 90 % interval"
    )
    print(f"front: {len(order)} of {len(result.genes):,} subnets looked at; {len(shown)} of them:")
    for row in shown:
        arch = space.decode(front[[row]])[0]
        print(f"{cheap[row]:9.2f} {unit}  {top1[row]:.2f} ± {1.645 * deviation[row]:.2f} % top-1  {arch}")


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--table", help="name or folder of a latency table")
    source.add_argument("--predictor", type=Path, help="predictor.json of a profiled run on this space")
    parser.add_argument("--evaluations", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=12, help="how many of the front to print")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def prices(space: SearchSpace, arguments: argparse.Namespace) -> tuple[str, Price]:
    """The unit and the price of genes in it."""
    if arguments.table:
        predictor = LatencyPredictor(space, CLASSES).fit(find_table(arguments.table))
    elif arguments.predictor:
        predictor = LatencyPredictor.load(arguments.predictor, space)
    else:
        macs = GeneTable.of(space, CLASSES, lambda blocks: np.array([[cost((block,)).macs / 1e6] for block in blocks]))
        return "M MACs", lambda genes: macs.sums(genes)[:, 0]
    return "ms", lambda genes: predictor.predict(genes) / 1e3


if __name__ == "__main__":
    main()
