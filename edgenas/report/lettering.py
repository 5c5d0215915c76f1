"""Fonts for names in any script in images, and numbers for names that no installed font has the letters of."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib import font_manager
from matplotlib.font_manager import FontProperties
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

from edgenas.markup import END_ISOLATE, ISOLATE, JOINERS, name_in_sentence, right_to_left, shortened_name, visible
from edgenas.report.figure import LONGEST_LABEL

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

BASE = "DejaVu Sans"
"""The font that matplotlib ships."""
PLACEHOLDERS = ("Last Resort", "Adobe Blank")
"""Fonts that draw a box, or nothing, for every letter."""
MOST_FONTS = 8
WEIGHTS = ("normal", "bold")
SHAPED_SINCE = (3, 11)
"""The first version of matplotlib that sets letters from right to left and joins them."""
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
ADVICE = (
    "No installed font has the letters of some names, so images show numbers instead. Install a font like Noto Sans"
)


@dataclass(frozen=True)
class Lettering:
    """How images show names.

    Attributes:
        fonts: letters by font family; the first one that has a letter shows it.
        numbers: by name, the label that stands for it where no font has its letters, like `class 3`.
    """

    fonts: Mapping[str, frozenset[str]]
    numbers: Mapping[str, str]

    def shown(self, text: str) -> str:
        """Return text with names replaced by their numbers, and without letters that no font has."""
        for name in sorted(self.numbers, key=len, reverse=True):
            for spelling in (name_in_sentence(name), visible(name), label(name)):
                text = text.replace(spelling, self.numbers[name])
        bare = (letter for letter in text if letter not in ISOLATE + END_ISOLATE)
        return "".join(letter if _can_draw(letter, self.fonts) else REPLACEMENT for letter in bare)


def label(name: str) -> str:
    """Return a name as a label beside an axis: on one line, and shortened."""
    return shortened_name(visible(name), LONGEST_LABEL)


@contextmanager
def lettered(letters: Lettering, style: Mapping[Any, Any]) -> Iterator[None]:
    """Set matplotlib's parameters (rcParams), among them the fonts of images."""
    parameters: dict[Any, Any] = {**style, "font.family": list(letters.fonts), "text.parse_math": False}
    with matplotlib.rc_context(parameters), _without_warnings_of_weights():
        yield


@contextmanager
def _without_warnings_of_weights() -> Iterator[None]:
    """Log no line for each font without bold letters, as its regular ones serve."""
    logger = logging.getLogger("matplotlib.font_manager")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def lettering_of(names: Mapping[str, Iterable[str]]) -> Lettering:
    """Choose fonts for the names that images may show, by kind, and number those that no font shows."""
    by_kind = {kind: tuple(group) for kind, group in names.items()}
    fonts = _fonts_for({letter for group in by_kind.values() for name in group for letter in visible(name)})
    numbers = {
        name: f"{kind} {number}"
        for kind, group in by_kind.items()
        for number, name in enumerate(group, start=1)
        if not _can_show(name, fonts)
    }
    return Lettering(fonts, numbers)


def png(figure: Figure, letters: Lettering) -> bytes:
    """Return a figure, drawn within `lettered`, as PNG bytes."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            _relabel(axis, letters)
    for text in figure.findobj(Text):
        if isinstance(text, Text):
            text.set_text(letters.shown(text.get_text()))
    stream = io.BytesIO()
    # Without its version stamp, equal data give equal bytes.
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _relabel(axis: Axis, letters: Lettering) -> None:
    # matplotlib computes the labels of ticks again when it draws them.
    labels = [text.get_text() for text in axis.get_ticklabels()]
    shown = [letters.shown(text) for text in labels]
    if shown != labels:
        axis.set_ticks(axis.get_ticklocs(), labels=shown)


def _can_show(name: str, fonts: Mapping[str, frozenset[str]]) -> bool:
    shaped = matplotlib.__version_info__[:2] >= SHAPED_SINCE or not right_to_left(name)
    return shaped and all(_can_draw(letter, fonts) for letter in visible(name))


def _can_draw(letter: str, fonts: Mapping[str, frozenset[str]]) -> bool:
    return letter.isascii() or any(letter in letters for letters in fonts.values())


def _fonts_for(letters: Iterable[str]) -> dict[str, frozenset[str]]:
    """Return matplotlib's font, and then fonts with the letters that it lacks, those with most of them first."""
    fonts = {BASE: _letters(BASE)}
    missing = {letter for letter in letters if not _can_draw(letter, fonts)} - set(JOINERS)
    installed = {family: _letters(family) for family in _installed()} if missing else {}
    while missing and len(fonts) < MOST_FONTS:
        best = max(installed, key=lambda family: (len(missing & installed[family]), family), default=BASE)
        if best in fonts or not missing & installed[best]:
            break
        fonts[best] = installed[best]
        missing -= installed[best]
    return fonts


def _installed() -> tuple[str, ...]:
    """Return the font families of this machine, those newer than matplotlib's cache included."""
    cached = {entry.fname for entry in font_manager.fontManager.ttflist}
    for path in sorted(set(font_manager.findSystemFonts()) - cached):
        try:
            font_manager.fontManager.addfont(path)
        except (OSError, RuntimeError, ValueError):
            continue
    upright = {entry.name for entry in font_manager.fontManager.ttflist if entry.style == "normal"}
    return tuple(sorted(name for name in upright if not name.startswith(PLACEHOLDERS)))


def _letters(family: str) -> frozenset[str]:
    """Return the letters that a family has in every weight that images use."""
    with _without_warnings_of_weights():
        paths = {font_manager.findfont(FontProperties(family=[family], weight=weight)) for weight in WEIGHTS}
    return frozenset.intersection(*map(_letters_in, paths))


def _letters_in(path: str) -> frozenset[str]:
    try:
        font = FT2Font(path)
        codes = [*font.get_charmap()]
        # Fonts of coloured bitmaps have no outlines to draw.
        font.set_size(10, 72)
        font.load_char(codes[0])
    except (IndexError, OSError, RuntimeError, ValueError):
        return frozenset()
    return frozenset(map(chr, codes))
