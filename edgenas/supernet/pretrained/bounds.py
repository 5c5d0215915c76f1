"""Bounds: the choices that a space around a network offers beside the network's own values."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, get_args

from edgenas.errors import SpaceError, shown
from edgenas.space.blocks.spec import Activation


@dataclass(frozen=True)
class Bounds:
    """Choices below the network's own values, which are always choices; greater ones are left out.

    Attributes:
        kernels: kernel sizes; 0: blocks of MobileNetV4 with two depthwise convolutions may lack the first.
        expand_ratios: expand ratios.
        depths: numbers of blocks of a stage; None: from half of the stage's own number.
        widths: output channels of stages, as shares of the network's, rounded to multiples of 8.
        activations: activations that blocks offer beside the network's own.
        squeeze_ratios: channels of squeeze-excite as shares, below the network's quarter; 0: blocks may lack it.
        resolutions: input sizes in pixels, instead of the network's own; None: the own, and three in steps of 32 below.

    Raises:
        SpaceError: an option is no list, or holds a value that no space has.
    """

    kernels: Sequence[int] = ()
    expand_ratios: Sequence[float] = ()
    depths: Sequence[int] | None = ()
    widths: Sequence[float] = ()
    activations: Sequence[Activation] = ()
    squeeze_ratios: Sequence[float] = ()
    resolutions: Sequence[int] | None = ()

    def __post_init__(self) -> None:
        for option, legal in LEGAL.items():
            values = getattr(self, option)
            if values is None and option in OPTIONAL:
                continue
            if not isinstance(values, Collection) or isinstance(values, str | bytes | Mapping):
                raise SpaceError(
                    f"{option}: expected a list of {legal.words}, like {legal.example}, got {shown(values)}"
                )
            for value in values:
                if not legal.has(value):
                    raise SpaceError(f"{option}: expected {legal.words}, got {shown(value)}")


class _Legal(NamedTuple):
    """The legal values of an option: in words, an example, and a test of one value."""

    words: str
    example: str
    has: Callable[[Any], bool]


def _whole(least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _number(test: Callable[[float], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int | float) and not isinstance(value, bool) and test(value)


def _kernel(value: Any) -> bool:
    return _whole(0, 31)(value) and (value == 0 or value % 2 == 1)


ACTIVATIONS = get_args(Activation)
OPTIONAL = ("depths", "resolutions")
"""Options that may be None."""
LEGAL = {
    "kernels": _Legal("odd kernel sizes from 1 to 31, or 0", "[3, 5]", _kernel),
    "expand_ratios": _Legal("ratios from 1 to 100", "[3, 4.5]", _number(lambda value: 1 <= value <= 100)),
    "depths": _Legal("whole numbers from 1 to 50", "[1, 2]", _whole(1, 50)),
    "widths": _Legal("shares above 0 and up to 1", "[0.5, 0.75]", _number(lambda value: 0 < value <= 1)),
    "activations": _Legal(f"activations of {', '.join(ACTIVATIONS)}", "['relu']", lambda value: value in ACTIVATIONS),
    "squeeze_ratios": _Legal("shares from 0 to 1", "[0, 0.125]", _number(lambda value: 0 <= value <= 1)),
    "resolutions": _Legal("whole numbers of pixels from 1 to 10000", "[160, 192]", _whole(1, 10_000)),
}
DEFAULTS = Bounds((0, 3, 5, 7), (2, 3, 4, 6), depths=None, widths=(0.75,), resolutions=None)
"""Bounds of `space_from` without options."""


def check_effects(bounds: Bounds, own: Mapping[str, float]) -> None:
    """Refuse options that choose nothing, since all their values are above the network's own.

    Args:
        bounds: the choices.
        own: the network's greatest value, by option.
    """
    for option, greatest in own.items():
        values = getattr(bounds, option)
        if values and min(values) > greatest:
            raise SpaceError(
                f"{option}: {shown(list(values))} has no effect: the network's greatest is {greatest:g}; expected "
                "smaller values, or leave the option out"
            )
