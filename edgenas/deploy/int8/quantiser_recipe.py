"""Quantiser recipes: named ways to make an int8 file, comparable across runs and part of a latency table's identity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from edgenas.errors import UserError, one_of

Method = Literal["minmax", "entropy", "percentile"]
FloatLayers = Literal["none", "first", "ends"]

QUANTISER_VERSION = 1
"""Part of every recipe: raised whenever quantised files change."""
_FLOAT_WORDS = {"none": (), "first": ("fp32first",), "ends": ("fp32ends",)}


@dataclass(frozen=True)
class QuantiserRecipe:
    """How a file is quantised.

    Attributes:
        method: how ranges of activations are found: `minmax`; `entropy`, the range that loses least information;
            `percentile`, the range of 99.99 % of all values.
        float_layers: what stays fp32: `none`, the `first` layer (the stem: its three input channels fill no int8
            kernel), or both `ends` (the classifier, too).
        seven_bit_weights: weights of 7 bits, for x86 CPUs without VNNI, whose 16-bit sums overflow with 8.
    """

    method: Method = "minmax"
    float_layers: FloatLayers = "none"
    seven_bit_weights: bool = False

    @property
    def latency_id(self) -> str:
        """All that latency depends on, e.g. `qdq-u8s8-pc-fp32first-v1`: a latency table's `quantiser_recipe`."""
        return "-".join(self._words())

    @property
    def id(self) -> str:
        """The text form, e.g. `qdq-u8s8-pc-minmax-fp32first-v1`."""
        return "-".join(self._words(self.method))

    def __str__(self) -> str:
        return self.id

    def _words(self, *method: str) -> list[str]:
        seven = ["w7"] * self.seven_bit_weights
        return ["qdq", "u8s8", "pc", *method, *_FLOAT_WORDS[self.float_layers], *seven, f"v{QUANTISER_VERSION}"]


_EVERY_RECIPE = tuple(
    QuantiserRecipe(method, layers, seven)
    for seven in (False, True)
    for method in get_args(Method)
    for layers in get_args(FloatLayers)
)
RECIPES = tuple(QuantiserRecipe(method, layers) for layers in ("ends", "first", "none") for method in get_args(Method))
"""What can be compared, the fastest first. A run compares the methods alone, with both ends in fp32."""


def parse_recipe(text: str) -> QuantiserRecipe:
    """The recipe of a text form.

    Raises:
        UserError: there is none; perhaps another version wrote it.
    """
    known = {recipe.id: recipe for recipe in _EVERY_RECIPE}
    if text not in known:
        raise UserError(f"{text!r} is no quantiser recipe of this edgenas; {one_of(text, known)}")
    return known[text]
