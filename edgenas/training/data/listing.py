"""Which files of a tree are images. Nothing that looks like an image is passed over silently."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgenas.errors import DataError, shortened
from edgenas.first_bytes import CONVERT, image_format, other_kind, read_head
from edgenas.training.data.folder_names import is_tools, shown

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".avif"),
)
"""Files of these names are decoded; all others are looked into first."""
RAW_SUFFIXES = (
    *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dng", ".erf", ".iiq", ".kdc", ".mos", ".mrw", ".nef"),
    *(".nrw", ".orf", ".pef", ".raf", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"),
)
"""Of cameras' raw files. Many are TIFF files whose first image is a preview, so what they hold is not opened."""
OTHER_SUFFIXES = (
    *(".heic", ".heif", ".hif", ".jp2", ".j2k", ".jpx", ".jxl", ".svg", ".svgz"),
    *(".psd", ".exr", ".dcm", ".eps", ".ico", ".tga"),
)
"""Of images that are not read."""
_CLAIM = re.compile(
    rf"\.({'|'.join(suffix[1:] for suffix in (*SUFFIXES, *RAW_SUFFIXES, *OTHER_SUFFIXES))})"
    r"(\.gz|\.part|\.crdownload|\.bak|\.orig|~|\?.*|[_:-](large|medium|small|thumb|orig)| ?\(\d+\))?\Z",
    re.IGNORECASE,
)
CAUSES_SHOWN = NAMES_SHOWN = 3


@dataclass
class Listing:
    """What was found in a tree. Paths are relative to the set's folder.

    Attributes:
        images: files to decode.
        labels: the class of each.
        left_out: files that look like images and are not used, with the cause.
        ignored: files and folders that are not images.
        set_aside: folders of tools and hidden files, with how many files of an image's name each holds.
    """

    root: Path
    images: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    set_aside: dict[str, int] = field(default_factory=dict)

    def add_class(self, folder: Path, label: int) -> int:
        """List a class's folder; return how many images it holds.

        Raises:
            DataError: a folder cannot be listed.
        """
        before = len(self.images)
        for path in self._walk(folder):
            name = path.relative_to(self.root).as_posix()
            is_image, cause = judge(path)
            if is_image and shown(name) != name:
                self.left_out[shown(name)] = "its name is not UTF-8: rename it"
            elif is_image:
                self.images.append(name)
                self.labels.append(label)
            elif cause is not None:
                self.left_out[shown(name)] = cause
            else:
                self.ignored.append(shown(name))
        return len(self.images) - before

    def add_unused(self, path: Path, cause: str) -> None:
        """List a file, or a whole folder, that lies where no class's images are looked for.

        Raises:
            DataError: a folder cannot be listed.
        """
        if is_tools(path.name):
            self._set_aside(path, named=not path.name.startswith("."))
            return
        if path.is_symlink() and not path.exists():
            self.left_out[self._name(path)] = f"its link leads to {shown(os.readlink(path))}, which is missing"
            return
        paths = list(self._walk(path)) if path.is_dir() else [path]
        unused = [one for one in paths if judge(one) != (False, None)]
        self.left_out.update({shown(one.relative_to(self.root).as_posix()): cause for one in unused})
        if not unused:
            self.ignored.append(self._name(path))

    def _walk(self, folder: Path) -> Iterator[Path]:
        """All files in a folder and those inside it, by name; links are followed, but not in circles."""
        seen: set[tuple[int, int]] = set()
        for place, inside, files in os.walk(folder, onerror=_refuse, followlinks=True):
            status = os.stat(place)
            if (status.st_dev, status.st_ino) in seen:
                inside.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            hidden = [name for name in files if name.startswith(".")]
            tools = [name for name in inside if is_tools(name, inside_class=True)]
            for name in (*hidden, *tools):
                self._set_aside(Path(place, name))
            inside[:] = sorted(set(inside) - set(tools))
            yield from (Path(place, name) for name in sorted(set(files) - set(hidden)))

    def _set_aside(self, path: Path, *, named: bool = False) -> None:
        files = [name for _, _, names in os.walk(path) for name in names] if path.is_dir() else [path.name]
        # Files that begin with `._` hold what macOS knows of another file.
        count = sum(claims_image(name) and not name.startswith("._") for name in files)
        if count:
            self.set_aside[self._name(path)] = count
        elif named:
            self.ignored.append(self._name(path))

    def _name(self, path: Path) -> str:
        return shown(path.relative_to(self.root).as_posix()) + ("/" if path.is_dir() else "")


def claims_image(name: str) -> bool:
    """Whether a file's name says that it is an image: by its suffix, even with something behind it."""
    return _CLAIM.search(name) is not None


def judge(path: Path) -> tuple[bool, str | None]:
    """Whether a file is an image to decode; where it is not but looks like one, why."""
    suffix = path.suffix.lower()
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False, "it is not an ordinary file" if claims_image(path.name) else None
        if suffix in SUFFIXES:
            return True, None
        head = read_head(path)
    except OSError as error:
        return False, _unopened(path, error)
    if suffix in RAW_SUFFIXES:
        return False, "it is a camera's raw file: develop it to JPEG or PNG"
    if image_format(head) is not None:
        return True, None
    kind = other_kind(head)
    if not claims_image(path.name) and not (kind is not None and kind.is_image):
        return False, None
    return False, "it is of no format that is read: " + CONVERT if kind is None else f"it is {kind.name}: {kind.advice}"


def _unopened(path: Path, error: OSError) -> str | None:
    if isinstance(error, FileNotFoundError) and path.is_symlink():
        target = os.readlink(path)
        if not claims_image(path.name) and not claims_image(target):
            return None
        annexed = ": run `git annex get`" if "annex/objects" in target else ""
        return f"its link leads to {shown(target)}, which is missing{annexed}"
    return f"it cannot be opened: {error.strerror}"


def _refuse(error: OSError) -> None:
    raise DataError(f"{error.filename} cannot be listed: {error.strerror}: change its permissions, or remove it")


def causes_text(causes: Mapping[str, str]) -> str:
    """Return the commonest causes, each with the first files that have it and how many more."""
    files: dict[str, list[str]] = {}
    for name in sorted(causes):
        files.setdefault(causes[name], []).append(name)
    common = sorted(files, key=lambda cause: -len(files[cause]))
    parts = [f"{shortened(files[cause], NAMES_SHOWN)}: {cause}" for cause in common[:CAUSES_SHOWN]]
    if len(common) > CAUSES_SHOWN:
        parts.append(f"and {len(common) - CAUSES_SHOWN:,} other causes")
    return "; ".join(parts)
