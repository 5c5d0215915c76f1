"""Whether images use the range of numbers that they are stored in: cameras write 10, 12 or 14 bits into 16."""

from __future__ import annotations

from collections.abc import Collection

LEVELS = 65535
DARK = 0.25
"""Largest level over the range, 14 bits of 16; `run.py` on the device warns at the same."""
FEW = 0.01


def range_problem(used: Collection[float], images: int) -> str | None:
    """Return why images of more than 8 bits a channel would be nearly black, None where they would not.

    Args:
        used: of each such image, its largest level as a share of the range.
        images: how many images there are in all; of a few dark ones among many nothing is said.
    """
    if not used or max(used) >= DARK or len(used) <= FEW * images:
        return None
    bits = max(1, round(max(used) * LEVELS).bit_length())
    return (
        f"all {len(used)} images of 16 bits a channel use the lowest {bits} bits only, as many cameras store them, and "
        f"would be nearly black: multiply their pixels by {2 ** (16 - bits)}, and those that the device will see, too"
    )
