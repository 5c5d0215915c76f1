"""Forms of an exported graph: one network, written in operators that a runtime may execute faster.

- `direct`: as torch's exporter writes it.
- `pooled`: averages over images are GlobalAveragePool instead of ReduceMean, so that a runtime which keeps channels
  in blocks (ONNX Runtime's NCHWc on x86) need not put them back in order first.
- `blocked`: besides, the gate of squeeze-excite is spread over the image (Resize, nearest) before it is multiplied:
  of two equal shapes, the runtime multiplies the blocks as they lie. It costs one more tensor of that size.

All are equal in exact arithmetic. Which is fastest depends on space and device, and is measured (`pipeline.form`).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

ExportForm = Literal["direct", "pooled", "blocked"]
EXPORT_FORMS: tuple[ExportForm, ...] = ("direct", "pooled", "blocked")
FORM_OPERATORS: dict[ExportForm, tuple[str, ...]] = {
    "direct": ("ReduceMean",),
    "pooled": ("GlobalAveragePool",),
    "blocked": ("GlobalAveragePool", "Resize"),
}
"""Operators that a network has for the sake of its form."""


def allowed_forms(unsupported: Collection[str]) -> tuple[ExportForm, ...]:
    """The forms that do without the operators a device lacks."""
    return tuple(form for form in EXPORT_FORMS if not set(FORM_OPERATORS[form]) & set(unsupported))
