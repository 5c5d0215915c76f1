"""The chosen network in int8 compared with fp32: sentences, warnings and tables."""

from __future__ import annotations

from edgenas.profiling.measurement import CI_COVERAGE
from edgenas.quantities import format_bytes
from edgenas.records.export import ShippedInt8
from edgenas.report.formats import ms, ms_range, percent
from edgenas.report.predictor_findings import NOISY
from edgenas.report.values import ImageFacts

FEW_IMAGES = 4
"""A difference in right answers to the same images of at most this many is not significant.

At least as many images as the difference are answered otherwise; the sign test's two standard errors over them are
twice the root of their number, which up to 4 is no less than the difference (McNemar 1947).
"""
COLUMNS = ("chosen network", "fp32", "int8", "difference")


def comparison(int8: ShippedInt8) -> str:
    """State the accuracy drop and the gain of int8 in one phrase."""
    drops = f"int8 {_drop(int8.fp32_val_top1 - int8.val_top1)} of validation top-1"
    drops += f" and {_drop(int8.fp32_test_top1 - int8.test_top1)} of test top-1"
    faster = [device for device, latency in int8.latency.items() if latency.worth_it]
    if not faster:
        return f"{drops}, and is not worth it: it is no faster on {', '.join(int8.latency)}"
    gains = ", ".join(f"{int8.latency[device].speedup:.2f} times as fast on {device}" for device in faster)
    others = [device for device in int8.latency if device not in faster]
    return f"{drops}, and is {gains}" + (f"; it is not worth it on {', '.join(others)}" if others else "")


def _drop(drop: float) -> str:
    points = round(100 * drop, 1)
    return f"{'gains' if points < 0 else 'loses'} {abs(points):.1f} points"


def details(int8: ShippedInt8, images: ImageFacts) -> list[str]:
    """Return the allowed drop, and whether differences and timings are significant, one sentence each."""
    allowed = f"The allowed drop of validation top-1 is {100 * int8.max_drop:.1f} points"
    return [
        allowed,
        *_test_difference(int8, images.counts.get("test", 0)),
        *_recipe_difference(int8, images.scored.get("validation", 0)),
        *_timing(int8),
    ]


def _test_difference(int8: ShippedInt8, n: int) -> list[str]:
    if not n:
        return []
    images = round(n * abs(int8.fp32_test_top1 - int8.test_top1))
    if images > FEW_IMAGES:
        return []
    if images == 0:
        return [f"int8 is right on as many of {n:,} test images as fp32"]
    return [f"Warning: the difference is {images} of {n:,} test images, which is not significant"]


def _recipe_difference(int8: ShippedInt8, n: int) -> list[str]:
    if len(int8.recipes_tried) < 2 or not n:
        return []
    first, second, *_ = sorted(int8.recipes_tried.values(), reverse=True)
    images = round(n * (first - second))
    if images > FEW_IMAGES:
        return []
    return [f"Warning: the best two recipes differ in {images} of {n:,} validation images, which is not significant"]


def _timing(int8: ShippedInt8) -> list[str]:
    warnings = []
    for device, latency in int8.latency.items():
        if latency.warnings:
            warnings.append(f"Warning: {device}: the measurement has warnings: {latency.warnings[0]}")
        noise = max(latency.repeat_noise, latency.fp32_repeat_noise)
        if noise > NOISY:
            warnings.append(f"Warning: {device} is noisy: repeated measurements of a file differ by {percent(noise)}")
    return warnings


def rows(int8: ShippedInt8) -> list[list[str]]:
    """Return accuracy, latency and size of both files under `COLUMNS`."""
    table = [
        _top1_row("validation top-1", int8.fp32_val_top1, int8.val_top1),
        _top1_row("test top-1", int8.fp32_test_top1, int8.test_top1),
    ]
    for device, row in int8.latency.items():
        fp32 = _timed(row.fp32_p50_us, (row.fp32_ci_low_us, row.fp32_ci_high_us), row.fp32_repeat_noise)
        timed = _timed(row.p50_us, (row.ci_low_us, row.ci_high_us), row.repeat_noise)
        label = f"p50 on {device} ({percent(CI_COVERAGE, 0)} interval; repeat noise), ms"
        table.append([label, fp32, timed, f"{row.speedup:.2f} × as fast"])
    ratio = f"{int8.size_bytes / int8.fp32_size_bytes:.2f} ×"
    return [*table, ["file", format_bytes(int8.fp32_size_bytes), format_bytes(int8.size_bytes), ratio]]


def _top1_row(name: str, fp32: float, int8: float) -> list[str]:
    return [name, percent(fp32), percent(int8), f"{100 * (int8 - fp32):+.1f} points"]


def _timed(p50_us: float, interval_us: tuple[float, float], noise: float) -> str:
    return f"{ms(p50_us)} ({ms_range(interval_us)}; {percent(noise)})"


def recipe_rows(int8: ShippedInt8) -> list[list[str]]:
    """Return each quantiser recipe that was tried with its validation top-1."""
    return [
        [name + (", chosen" if name == int8.quantiser_recipe else ""), percent(top1)]
        for name, top1 in int8.recipes_tried.items()
    ]
