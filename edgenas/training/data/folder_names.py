"""What folders' names mean: splits, what tools leave behind, and classes that are spelt in two ways."""

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
"""Folder names, in whatever case, and the split each holds."""
LIKE_A_SPLIT = re.compile(
    r"(train|training|test|testing|val|valid|validation|dev|eval|evaluation|holdout)[ _-]*"
    r"(\d*|set|sets|data|dataset|images?|imgs?|pictures?|split|folder)"
)
CASE = "upper and lower case"
"""How two names may differ and be two classes all the same, as letters are."""
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
"""Folders of file servers and systems, in lower case; those that begin with `.` or `__` are tools', too."""
THUMBNAILS = {"thumbs", "thumbnails", "_thumbs", "_thumbnails"}
"""Folders, in lower case, that are thumbnails' inside of a class. A class may be called so."""


def split_of(name: str) -> str | None:
    """Return the split that a folder of this name holds, None where it is not the name of one."""
    return SPLITS.get(name.casefold())


def is_like_a_split(name: str) -> bool:
    """Whether a name looks like a split's and is not one, such as `training_set`."""
    return split_of(name) is None and LIKE_A_SPLIT.fullmatch(name.casefold()) is not None


def is_tools(name: str, *, inside_class: bool = False) -> bool:
    """Whether a file or folder of this name is left behind by a tool: hidden, thumbnails, a recycle bin."""
    lower = name.casefold()
    return name.startswith((".", "__")) or lower in TOOL_FOLDERS or (inside_class and lower in THUMBNAILS)


def folders(root: Path) -> list[str]:
    """Return the names of the folders in a folder, sorted, without those of tools."""
    with os.scandir(root) as entries:
        return sorted(entry.name for entry in entries if not is_tools(entry.name) and entry.is_dir())


def shown(name: str) -> str:
    """Return a file's name as it can be printed and stored: bytes that are no UTF-8 are escaped."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def plain_form(name: str) -> str:
    """Return a name in composed Unicode (NFC), without invisible characters, its spaces single and ordinary."""
    return unicodedata.normalize("NFC", " ".join(_visible(name).split()))


def _visible(name: str) -> str:
    return "".join(letter for letter in name if unicodedata.category(letter) != "Cf")


def difference(one: str, other: str) -> str | None:
    """Return what sets two names apart that look the same, None where they look different."""
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
    """Return the first of the other names that looks the same, and what sets it apart."""
    for other in others:
        apart = difference(name, other)
        if apart is not None:
            return other, apart
    return None


def look_alikes(names: Iterable[str]) -> list[tuple[str, str, str]]:
    """Return neighbouring pairs of names that look the same, each with what sets it apart."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(plain_form(name).casefold(), []).append(name)
    pairs = [pair for group in groups.values() for pair in pairwise(group)]
    return [(one, other, difference(one, other) or "") for one, other in pairs]
