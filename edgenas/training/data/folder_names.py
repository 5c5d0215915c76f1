"""Meanings of folder names: splits, folders of tools, and classes with two spellings."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
"""Splits by the name of their folder, in any case."""
LIKE_A_SPLIT = re.compile(
    r"(train|training|test|testing|val|valid|validation|dev|eval|evaluation|holdout)[ _-]*"
    r"(\d*|set|sets|data|dataset|images?|imgs?|pictures?|split|folder)"
)
CASE = "upper and lower case"
"""A difference between the names of two classes that is allowed, as letters may be classes."""
TOOL_FOLDERS = {
    "@eadir",  # Synology's thumbnails
    "#recycle",
    "@recycle",
    "#snapshot",
    "@recently-snapshot",
    "@tmp",
    "$recycle.bin",
    "recycler",
    "recycled",
    "system volume information",
    "lost+found",
    "found.000",
}
"""Folders of file servers and operating systems, in lower case. Names that begin with `.` or `__` count, too."""
THUMBNAILS = {"thumbs", "thumbnails", "_thumbs", "_thumbnails"}
"""Folders of thumbnails inside a class, in lower case. They are also valid names of classes."""


def split_of(name: str) -> str | None:
    """Return the split of a folder by its name; None if it is not the name of a split."""
    return SPLITS.get(name.casefold())


def is_like_a_split(name: str) -> bool:
    """Return whether a name looks like that of a split and is not one, such as `training_set`."""
    return split_of(name) is None and LIKE_A_SPLIT.fullmatch(name.casefold()) is not None


def is_tool_name(name: str, *, inside_class: bool = False) -> bool:
    """Return whether a file or folder belongs to a tool: hidden files, thumbnails, a recycle bin."""
    lower = name.casefold()
    return name.startswith((".", "__")) or lower in TOOL_FOLDERS or (inside_class and lower in THUMBNAILS)


def folders(root: Path) -> list[str]:
    """Return the sorted names of the sub-folders, without those of tools."""
    with os.scandir(root) as entries:
        return sorted(entry.name for entry in entries if not is_tool_name(entry.name) and entry.is_dir())


def escaped_name(name: str) -> str:
    """Return the name of a file with bytes that are not UTF-8 escaped, so that it can be printed and stored."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def plain_form(name: str) -> str:
    """Return a name in composed Unicode (NFC), without invisible characters, its spaces single and ordinary."""
    return unicodedata.normalize("NFC", " ".join(_visible(name).split()))


def _visible(name: str) -> str:
    return "".join(letter for letter in name if unicodedata.category(letter) != "Cf")


def difference(one: str, other: str) -> str | None:
    """Return the difference between two names that look the same; None if they look different."""
    if one == other or plain_form(one).casefold() != plain_form(other).casefold():
        return None
    if unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other):
        return "the Unicode form (composed or decomposed letters, NFC or NFD)"
    if plain_form(one) != plain_form(other):
        return CASE
    if _visible(one) != one or _visible(other) != other:
        return "invisible characters"
    return "spaces (such as a no-break space, or one at the end)"


def look_alike(name: str, others: Iterable[str]) -> tuple[str, str] | None:
    """Return the first of the other names that looks the same, and the difference."""
    for other in others:
        apart = difference(name, other)
        if apart is not None:
            return other, apart
    return None


def look_alikes(names: Iterable[str]) -> list[tuple[str, str, str]]:
    """Return neighbouring pairs of names that look the same, each with the difference."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(plain_form(name).casefold(), []).append(name)
    pairs = [pair for group in groups.values() for pair in pairwise(group)]
    return [(one, other, difference(one, other) or "") for one, other in pairs]
