"""Checks whether images use the range of their pixel type: cameras store 10, 12 or 14 bits in 16."""

from __future__ import annotations

from collections.abc import Collection

LEVELS = 65535
DARK = 0.25
"""Largest level as a fraction of the range, for 14 bits of 16; `run.py` on the device warns at the same value."""
FEW = 0.01


def range_problem(used: Collection[float], images: int) -> str | None:
    """Return the problem if images of more than 8 bits a channel would be nearly black, else None.

    Args:
        used: for each such image, its largest level as a fraction of the range.
        images: number of all images; a few dark ones among many are no problem.
    """
    if not used or max(used) >= DARK or len(used) <= FEW * images:
        return None
    bits = max(1, round(max(used) * LEVELS).bit_length())
    return (
        f"all {len(used)} images of 16 bits a channel use only the lowest {bits} bits, as many cameras store them, and "
        f"would be nearly black: multiply their pixels by {2 ** (16 - bits)}, and also those of images on the device"
    )
