"""Variants of an exported graph: one network, written in operators that a runtime may execute faster.

- `direct`: as torch's exporter writes it.
- `pooled`: averages over images are GlobalAveragePool instead of ReduceMean, so that a runtime which keeps channels
  in blocks (ONNX Runtime's NCHWc on x86) need not put them back in order first.
- `blocked`: besides, the gate of squeeze-excite is spread over the image (Resize, nearest) before it is multiplied:
  of two equal shapes, the runtime multiplies the blocks as they lie. It costs one more tensor of that size.

All are equal in exact arithmetic. Which is fastest depends on space and device, and is measured
(`stages.fastest_variant`).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

GraphVariant = Literal["direct", "pooled", "blocked"]
GRAPH_VARIANTS: tuple[GraphVariant, ...] = ("direct", "pooled", "blocked")
VARIANT_OPERATORS: dict[GraphVariant, tuple[str, ...]] = {
    "direct": ("ReduceMean",),
    "pooled": ("GlobalAveragePool",),
    "blocked": ("GlobalAveragePool", "Resize"),
}
"""Operators that networks of one variant have and those of another do without."""


def supported_variants(unsupported: Collection[str]) -> tuple[GraphVariant, ...]:
    """Return the variants that need none of the operators a device lacks."""
    return tuple(variant for variant in GRAPH_VARIANTS if not set(VARIANT_OPERATORS[variant]) & set(unsupported))
