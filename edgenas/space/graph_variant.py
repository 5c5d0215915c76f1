"""Graph variants: one network, exported in operators that a runtime may execute faster.

- `direct`: as torch's exporter writes it.
- `pooled`: averages over images are GlobalAveragePool instead of ReduceMean. A runtime that keeps channels in blocks
  (ONNX Runtime's NCHWc on x86) then need not reorder them first.
- `blocked`: as `pooled`, and the gate of squeeze-excite is spread over the image (Resize, nearest) before the product.
  The runtime multiplies two tensors of equal shape in blocked memory. This costs one more tensor of that size.

All are equal in exact arithmetic. Which is fastest depends on space and device, and is measured
(`edgenas.stages.devices.fastest_variant`).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

GraphVariant = Literal["direct", "pooled", "blocked"]
PLAIN_VARIANT: GraphVariant = "direct"
GRAPH_VARIANTS: tuple[GraphVariant, ...] = ("direct", "pooled", "blocked")
VARIANT_OPERATORS: dict[GraphVariant, tuple[str, ...]] = {
    "direct": ("ReduceMean",),
    "pooled": ("GlobalAveragePool",),
    "blocked": ("GlobalAveragePool", "Resize"),
}
"""Operators that only this variant of a network has."""


def supported_variants(unsupported: Collection[str]) -> tuple[GraphVariant, ...]:
    """Return the variants without the operators that a device does not support."""
    return tuple(variant for variant in GRAPH_VARIANTS if not set(VARIANT_OPERATORS[variant]) & set(unsupported))
