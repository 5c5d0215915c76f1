"""Recommend a preset for a data set: a rule of thumb, from the size and the number of its images."""

from __future__ import annotations

from edgenas.errors import SpaceError

PRESETS_BY_SIZE = ((24, "digits-24"), (64, "mobile-32"), (160, "mobile-96"))
"""Each preset with the largest images that it is recommended for, in pixels of the shorter side."""
LARGE_PRESET = "mobile-224"
LARGE_PRESET_IMAGES = 20_000
"""Fewest images that `LARGE_PRESET` is recommended for."""


def recommend_preset(image_size_px: int, images: int) -> str:
    """Return the name of the preset to begin with.

    The size decides: resolutions above the images' own take more time and add no detail, and resolutions far below
    lose detail. For large photographs the number decides, too. The largest network of mobile-224 needs 3.6 times the
    multiply-accumulates of mobile-96's. From fewer than 20,000 images, networks trained from scratch overfit sooner
    than they run out of capacity, so the training time is better spent on more epochs of smaller ones. 20,000 is a
    judgement, not a measurement.

    Args:
        image_size_px: median of the images' shorter sides, in pixels.
        images: number of training images.

    Raises:
        SpaceError: the size or the number is not above zero.
    """
    for name, value in (("image size", image_size_px), ("number of images", images)):
        if value <= 0:
            raise SpaceError(f"{name}: expected a number above zero, got {value}")
    fitting = (preset for largest_px, preset in PRESETS_BY_SIZE if image_size_px <= largest_px)
    by_size = next(fitting, LARGE_PRESET)
    return "mobile-96" if by_size == LARGE_PRESET and images < LARGE_PRESET_IMAGES else by_size
