"""The part of report.md on int8."""

from __future__ import annotations

import os

from edgenas.markup import Ready, markdown_sentence
from edgenas.profiling.measurement import CI_COVERAGE
from edgenas.report import int8_judgement
from edgenas.report.formats import MISSING, ms, ms_range, percent, size
from edgenas.report.markdown_pieces import sentences, table
from edgenas.report.values import Chosen, Int8, Run


def int8_section(run: Run) -> list[str]:
    """int8 beside fp32, recipe by recipe; none where there is no int8."""
    found = run.summary.int8
    if run.summary.chosen is None or found is None:
        return []
    tried = [
        [Ready(f"`{name}`" + (", chosen" if name == found.quantiser_recipe else "")), percent(top1)]
        for name, top1 in found.recipes_tried.items()
    ]
    return [
        "## int8 beside fp32",
        "",
        markdown_sentence(f"{int8_judgement.int8(run)}. {' '.join(int8_judgement.int8_warnings(run))}".rstrip()),
        "",
        *sentences(found.notes),
        "",
        *table(["chosen network", "fp32", "int8", "difference"], _int8_rows(run.summary.chosen, found)),
        "",
        f"The int8 file: [{found.onnx}]({os.path.relpath(run.folder / found.onnx, run.folder / 'report')}), quantised "
        f"by `{found.quantiser_recipe}`.",
        *(["", *table(["recipe tried", "validation top-1"], tried)] if tried else []),
    ]


def _int8_rows(chosen: Chosen, found: Int8) -> list[list[str]]:
    val_top1, test_top1 = int8_judgement.fp32_top1(chosen, found)
    rows = [
        ["validation top-1", percent(val_top1), percent(found.val_top1), _lost(val_top1, found.val_top1)],
        ["test top-1", percent(test_top1), percent(found.test_top1), _lost(test_top1, found.test_top1)],
    ]
    for device, one in found.latency.items():
        fp32 = _timed(one.fp32_p50_us, one.fp32_ci_low_us, one.fp32_ci_high_us, one.fp32_repeat_noise)
        own = _timed(one.p50_us, one.ci_low_us, one.ci_high_us, one.repeat_noise)
        label = f"p50 on {device} ({percent(CI_COVERAGE, 0)} interval; repeat noise), ms"
        rows.append([label, fp32, own, f"{one.speedup:.2f} × as fast"])
    bytes_ = found.fp32_size_bytes
    ratio = MISSING if not bytes_ else f"{found.size_bytes / bytes_:.2f} ×"
    return [*rows, ["file", MISSING if bytes_ is None else size(bytes_), size(found.size_bytes), ratio]]


def _lost(fp32: float | None, int8: float) -> str:
    return MISSING if fp32 is None else f"{100 * (int8 - fp32):+.1f} points"


def _timed(p50_us: float, low_us: float | None, high_us: float | None, noise: float | None) -> str:
    interval = None if low_us is None or high_us is None else (low_us, high_us)
    return f"{ms(p50_us)} ({ms_range(interval)}; {percent(noise)})"
