"""What int8 of the chosen network costs and gives, warnings included."""

from __future__ import annotations

from edgenas.report.formats import percent
from edgenas.report.predictor_judgement import NOISY
from edgenas.report.values import Chosen, Int8, Run

FEW_IMAGES = 4
"""A difference in right answers to the same images of at most this many is within chance.

At least as many images as the difference are answered otherwise; the sign test's two standard errors over them are
twice the root of their number, which up to 4 is no less than the difference (McNemar 1947).
"""


def int8(run: Run) -> str:
    """What int8 of the chosen network costs and gives, in one phrase."""
    chosen, found = run.summary.chosen, run.summary.int8
    assert chosen is not None
    assert found is not None
    val_top1, test_top1 = fp32_top1(chosen, found)
    costs = f"int8 {_lost(val_top1 - found.val_top1)} of validation top-1"
    if test_top1 is not None:
        costs += f" and {_lost(test_top1 - found.test_top1)} of test top-1"
    worth = [device for device, one in found.latency.items() if one.worth_it]
    if not worth:
        return f"{costs}, and is not worth it: it is no faster on {', '.join(found.latency)}"
    gains = ", ".join(f"{found.latency[device].speedup:.2f} times as fast on {device}" for device in worth)
    other = [device for device in found.latency if device not in worth]
    return f"{costs}, and is {gains}" + (f"; it is not worth it on {', '.join(other)}" if other else "")


def fp32_top1(chosen: Chosen, found: Int8) -> tuple[float, float | None]:
    """Validation and test top-1 of the fp32 file; where a device runs int8, the chosen network's are that one's."""
    if found.fp32_val_top1 is None:
        return chosen.val_top1, chosen.test_top1
    return found.fp32_val_top1, found.fp32_test_top1


def int8_warnings(run: Run) -> list[str]:
    """What speaks for and against int8's figures, one sentence each."""
    checks = (_int8_allowed, _int8_drop, _int8_recipes, _int8_timing)
    return [sentence for check in checks for sentence in check(run)]


def _int8_allowed(run: Run) -> list[str]:
    found = run.summary.int8
    if found is None or found.max_drop is None:
        return []
    return [f"Up to {100 * found.max_drop:.1f} points of validation top-1 were allowed to be lost."]


def _int8_drop(run: Run) -> list[str]:
    chosen, found, n = run.summary.chosen, run.summary.int8, run.dataset.counts.get("test")
    test_top1 = fp32_top1(chosen, found)[1] if chosen and found else None
    if found is None or test_top1 is None or not n:
        return []
    images = round(n * abs(test_top1 - found.test_top1))
    if images > FEW_IMAGES:
        return []
    if images == 0:
        return [f"As many of {n:,} test images are right as in fp32."]
    return [f"Warning: on the test images that is {images} of {n:,}, too few to tell from chance."]


def _int8_recipes(run: Run) -> list[str]:
    found, n = run.summary.int8, run.scored_images("validation")
    if found is None or len(found.recipes_tried) < 2 or not n:
        return []
    scores = sorted(found.recipes_tried.values(), reverse=True)
    images = round(n * (scores[0] - scores[1]))
    if images > FEW_IMAGES:
        return []
    return [f"Warning: the best two recipes are {images} of {n:,} validation images apart: chance may have chosen."]


def _int8_timing(run: Run) -> list[str]:
    found = run.summary.int8
    assert found is not None
    said = []
    for device, one in found.latency.items():
        if one.warnings:
            said.append(f"Warning: {device}: the timer warnings this measurement: {one.warnings[0]}.")
        noise = max(one.repeat_noise, one.fp32_repeat_noise or 0.0)
        if noise > NOISY:
            said.append(f"Warning: {device} is unsteady: either file, timed again, differs by {percent(noise)}.")
    return said


def _lost(drop: float) -> str:
    """What a drop of top-1 comes to, in points."""
    points = round(100 * drop, 1)
    return f"{'gains' if points < 0 else 'loses'} {abs(points):.1f} points"
