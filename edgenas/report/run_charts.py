"""Figures of training, search, genes and accuracy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from edgenas.records.export import HindsightRecord
from edgenas.records.folder import SummaryRecord
from edgenas.records.search import SearchRecord
from edgenas.records.train import StepRow, ValidationRow
from edgenas.records.verify import UnderstandingRecord
from edgenas.report import findings, hindsight_findings, search_findings
from edgenas.report.figure import LOOKS, Axis, Figure, Interval, Look, ReferenceLine, Series, categories_of
from edgenas.report.values import BundleFacts, ImageFacts
from edgenas.statistics.significance import standard_error


def training_loss(steps: Sequence[StepRow], finding: str) -> Figure:
    """Draw the loss of each recorded step and its running mean."""
    epochs, losses = [step.epoch for step in steps], [step.loss for step in steps]
    series = (
        Series("each recorded step", epochs, losses, Look("faint", line="solid", width=1)),
        Series("running mean", epochs, smooth(np.array(losses)).tolist(), Look("blue", line="solid", width=2.5)),
    )
    return Figure(finding, Axis("epoch"), Axis("training loss", from_zero=True), series)


def smooth(
    values: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return means over a window of a twentieth of the values, narrower at the ends."""
    half = max(1, len(values) // 40)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    centre = np.arange(len(values))
    low, high = np.maximum(centre - half, 0), np.minimum(centre + half + 1, len(values))
    return np.asarray((sums[high] - sums[low]) / (high - low))


def training_top1(validations: Sequence[ValidationRow], finding: str) -> Figure:
    """Draw validation top-1 of named subnets during training."""
    series = []
    for number, name in enumerate(validations[-1].top1):
        rows = [(v.epoch, 100 * v.top1[name]) for v in validations if name in v.top1]
        look = LOOKS[number % len(LOOKS)]
        series.append(Series(f"{name} subnet", [x for x, _ in rows], [y for _, y in rows], look))
    return Figure(finding, Axis("epoch"), Axis("validation top-1 (%)"), tuple(series))


def hypervolume(facts: SearchRecord) -> Figure:
    """Draw the hypervolume against evaluations."""
    look = Look("blue", "circle", "solid", size=7)
    series = Series("hypervolume", facts.evaluations_by_batch, facts.hypervolume_by_batch, look, stepped=True)
    return Figure(findings.search(facts), Axis("evaluations", from_zero=True), Axis("hypervolume"), (series,))


def genes(understanding: UnderstandingRecord, devices: Sequence[str]) -> list[Figure]:
    """Draw the change of top-1 and of each device's latency from a gene's smallest to its largest choice."""
    effects = sorted(understanding.genes, key=lambda effect: -effect.val_top1.change)
    changes = {"validation top-1 (points)": [100 * effect.val_top1.change for effect in effects]}
    for device in devices:
        changes[f"latency on {device} (ms)"] = [effect.latency_us[device].change / 1e3 for effect in effects]
    names = [effect.name for effect in effects]
    finding, zero = search_findings.genes_in_short(understanding, devices[0]), ReferenceLine(0, colour="ink")
    figures = []
    for number, (title, values) in enumerate(changes.items()):
        bars = Series("", values, names, Look("orange" if number else "blue"), "bars")
        figures.append(Figure(finding, Axis(f"change of {title}"), Axis("", categories=names), (bars,), (zero,)))
    return figures


def validation_and_test(summary: SummaryRecord, images: ImageFacts) -> Figure:
    """Draw validation and test top-1 of the exported files, with two standard errors of sampling."""
    chosen, int8 = summary.chosen, summary.int8
    files = {"fp32": (chosen.val_top1, chosen.test_top1)}
    if int8 is not None:
        files = {"fp32": (int8.fp32_val_top1, int8.fp32_test_top1), "int8": (int8.val_top1, int8.test_top1)}
    series = []
    for number, split in enumerate(("validation", "test")):
        rows = {f"{name}, {split}": rate for name, rates in files.items() if (rate := rates[number]) is not None}
        look = replace(LOOKS[number], line=None, size=12)
        errors = _sampling(rows.values(), images.scored.get(split, 0))
        rates = [100 * rate for rate in rows.values()]
        series.append(Series(f"{split} top-1, ± two standard errors", rates, list(rows), look, x_interval=errors))
    order = [f"{name}, {split}" for name in files for split in ("validation", "test")]
    return Figure(findings.optimism(summary, images), Axis("top-1 (%)"), Axis("", categories=order), tuple(series))


def _sampling(rates: Iterable[float], images: int) -> list[Interval]:
    """Return rates, in percent, minus and plus two standard errors."""
    errors = [(rate, 2 * standard_error(rate, images)) for rate in rates]
    return [(100 * (rate - error), 100 * (rate + error)) for rate, error in errors]


def front_on_test(hindsight: HindsightRecord, summary: SummaryRecord, images: ImageFacts) -> Figure:
    """Draw validation and test top-1 of each network of the front, fastest first."""
    rows = hindsight_findings.numbered(hindsight, findings.ordered_front(summary))
    names = [str(number) + (", chosen" if row.arch == hindsight.chosen else "") for number, row in rows]
    rates = {"validation": [row.val_top1 for _, row in rows], "test": [row.test_top1 for _, row in rows]}
    series = []
    for (split, values), look in zip(rates.items(), LOOKS, strict=False):
        errors = _sampling(values, images.scored.get(split, 0))
        name, heights = f"{split} top-1, ± two standard errors", [100 * rate for rate in values]
        series.append(Series(name, names, heights, look, y_interval=errors))
    axis = Axis("network of the front, fastest first", categories=names)
    return Figure(hindsight_findings.front_optimism(hindsight, images), axis, Axis("top-1 (%)"), tuple(series))


def by_class(bundle: BundleFacts) -> Figure:
    """Draw test top-1 of each class, the hardest at the top."""
    accuracy, int8 = bundle.accuracy, bundle.int8.accuracy
    order = sorted((rate, index) for index, rate in enumerate(accuracy.test_top1_by_class) if rate is not None)
    names = categories_of([bundle.classes[index] for _, index in order])
    files = {"fp32": accuracy} | ({"int8": int8} if int8 and int8.test_top1_by_class else {})
    series = []
    for (name, scores), look in zip(files.items(), LOOKS[1::-1], strict=False):
        rates = [scores.test_top1_by_class[index] for _, index in order]
        shares = [None if rate is None else 100 * rate for rate in rates]
        notes = [[f"{scores.test_images_by_class[index]:,} test images"] for _, index in order]
        series.append(Series(name, shares, names, replace(look, line=None), notes=notes))
    return Figure(findings.by_class(bundle), Axis("test top-1 (%)"), Axis("", categories=names), tuple(series))


def class_changes(hindsight: HindsightRecord) -> Figure:
    """Draw test top-1 of each class, of the largest subnet and of the chosen network, the largest loss at the top."""
    rows = hindsight_findings.by_change(hindsight)
    names = categories_of([row.name for row in rows])
    notes = [[f"chosen − largest: {hindsight_findings.points(row)}"] for row in rows]
    chosen = [100 * row.chosen / row.images for row in rows]
    largest = [100 * row.largest / row.images for row in rows]
    series = (
        Series("chosen network", chosen, names, replace(LOOKS[0], line=None), notes=notes),
        Series("largest subnet", largest, names, replace(LOOKS[1], line=None), notes=notes),
    )
    finding = hindsight_findings.class_losses(hindsight)
    return Figure(finding, Axis("test top-1 (%)"), Axis("", categories=names), series)
