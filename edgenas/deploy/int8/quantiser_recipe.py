"""Quantiser recipes: named settings of quantisation, which are part of a latency table's identity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from edgenas.errors import UserError, one_of

Method = Literal["minmax", "entropy", "percentile"]
FloatLayers = Literal["none", "first", "ends"]

QUANTISER_VERSION = 1
"""Version in every recipe; raised whenever quantised files change."""
_FLOAT_WORDS = {"none": (), "first": ("fp32first",), "ends": ("fp32ends",)}


@dataclass(frozen=True)
class QuantiserRecipe:
    """Settings that a file is quantised with.

    Attributes:
        method: method that determines the ranges of activations. `minmax` takes the smallest and the largest value,
            `entropy` the range that loses least information, and `percentile` the range of 99.99 % of all values.
        float_layers: layers that stay fp32: `none`, the `first` layer (the stem, whose three input channels do not fill
            an int8 kernel), or both `ends` (the stem and the classifier).
        seven_bit_weights: whether weights have 7 bits, for x86 CPUs without VNNI, whose 16-bit sums overflow with 8.
    """

    method: Method = "minmax"
    float_layers: FloatLayers = "none"
    seven_bit_weights: bool = False

    @property
    def latency_id(self) -> str:
        """Return the settings that latency depends on, as in latency tables, e.g. `qdq-u8s8-pc-fp32first-v1`."""
        return "-".join(self._words())

    @property
    def id(self) -> str:
        """Return the text form, e.g. `qdq-u8s8-pc-minmax-fp32first-v1`."""
        return "-".join(self._words(self.method))

    def __str__(self) -> str:
        return self.id

    def _words(self, *method: str) -> list[str]:
        bits = ["w7"] if self.seven_bit_weights else []
        return ["qdq", "u8s8", "pc", *method, *_FLOAT_WORDS[self.float_layers], *bits, f"v{QUANTISER_VERSION}"]


_EVERY_RECIPE = tuple(
    QuantiserRecipe(method, layers, seven)
    for seven in (False, True)
    for method in get_args(Method)
    for layers in get_args(FloatLayers)
)
RECIPES = tuple(QuantiserRecipe(method, layers) for layers in ("ends", "first", "none") for method in get_args(Method))
"""Recipes for comparison, the fastest first. A run compares only the methods, with both ends in fp32."""


def parse_recipe(text: str) -> QuantiserRecipe:
    """Return the recipe with a text form.

    Raises:
        UserError: this version of edgenas has no such recipe.
    """
    recipes = {recipe.id: recipe for recipe in _EVERY_RECIPE}
    if text not in recipes:
        raise UserError(f"{text!r} is not a quantiser recipe of this version of edgenas; {one_of(text, recipes)}")
    return recipes[text]
