"""Accuracy by class, as rows of a table."""

from __future__ import annotations

from edgenas.report.formats import percent
from edgenas.report.values import Run

CLASS_HEADER = ("class", "test images", "top-1")


def class_rows(run: Run) -> list[list[str]]:
    """A row for each class: its test images, and how many of them get its label; none where that is not known."""
    if run.bundle is None:
        return []
    scores = run.bundle.accuracy
    rows = zip(run.bundle.classes, scores.test_images_by_class, scores.test_top1_by_class, strict=False)
    return [[name, f"{images:,}", percent(rate)] for name, images, rate in rows]
