"""Lists the images in a tree of folders. No file that looks like an image is skipped silently."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgenas.errors import DataError, shortened
from edgenas.first_bytes import CONVERT, image_format, other_kind, read_head
from edgenas.training.data.folder_names import escaped_name, is_tool_name

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".avif"),
)
"""Files with these suffixes are decoded; the first bytes of all others are read first."""
RAW_SUFFIXES = (
    *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dng", ".erf", ".iiq", ".kdc", ".mos", ".mrw", ".nef"),
    *(".nrw", ".orf", ".pef", ".raf", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"),
)
"""Raw files of cameras. Many are TIFF files whose first image is a preview, so they are not opened."""
OTHER_SUFFIXES = (
    *(".heic", ".heif", ".hif", ".jp2", ".j2k", ".jpx", ".jxl", ".svg", ".svgz"),
    *(".psd", ".exr", ".dcm", ".eps", ".ico", ".tga"),
)
"""Images of formats that are not supported."""
_IMAGE_NAME = re.compile(
    rf"\.({'|'.join(suffix[1:] for suffix in (*SUFFIXES, *RAW_SUFFIXES, *OTHER_SUFFIXES))})"
    r"(\.gz|\.part|\.crdownload|\.bak|\.orig|~|\?.*|[_:-](large|medium|small|thumb|orig)| ?\(\d+\))?\Z",
    re.IGNORECASE,
)
CAUSES_SHOWN = NAMES_SHOWN = 3


@dataclass
class Listing:
    """The files in a tree. Paths are relative to the folder of the set.

    Attributes:
        root: the folder of the set.
        images: files to decode.
        labels: the class of each image.
        left_out: files that look like images and are not used, with the cause.
        ignored: files and folders that are not images.
        set_aside: folders of tools and hidden files, with the number of files named like images in each.
    """

    root: Path
    images: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    set_aside: dict[str, int] = field(default_factory=dict)

    def add_class(self, folder: Path, label: int) -> int:
        """List the folder of a class; return the number of images in it.

        Raises:
            DataError: a folder cannot be listed.
        """
        before = len(self.images)
        for path in self._walk(folder):
            name = path.relative_to(self.root).as_posix()
            is_image, cause = classify_file(path)
            if is_image and escaped_name(name) != name:
                self.left_out[escaped_name(name)] = "its name is not UTF-8: rename it"
            elif is_image:
                self.images.append(name)
                self.labels.append(label)
            elif cause is not None:
                self.left_out[escaped_name(name)] = cause
            else:
                self.ignored.append(escaped_name(name))
        return len(self.images) - before

    def add_unused(self, path: Path, cause: str) -> None:
        """List a file or a whole folder outside the class folders.

        Raises:
            DataError: a folder cannot be listed.
        """
        if is_tool_name(path.name):
            self._set_aside(path, named=not path.name.startswith("."))
            return
        if path.is_symlink() and not path.exists():
            self.left_out[self._name(path)] = f"its link leads to {escaped_name(os.readlink(path))}, which is missing"
            return
        paths = list(self._walk(path)) if path.is_dir() else [path]
        unused = [file for file in paths if classify_file(file) != (False, None)]
        self.left_out.update({escaped_name(file.relative_to(self.root).as_posix()): cause for file in unused})
        if not unused:
            self.ignored.append(self._name(path))

    def _walk(self, folder: Path) -> Iterator[Path]:
        """Yield all files in a folder and its sub-folders, by name; links are followed, but not in circles."""
        seen: set[tuple[int, int]] = set()
        for parent, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
            status = os.stat(parent)
            if (status.st_dev, status.st_ino) in seen:
                folders.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            hidden = [name for name in files if name.startswith(".")]
            tools = [name for name in folders if is_tool_name(name, inside_class=True)]
            for name in (*hidden, *tools):
                self._set_aside(Path(parent, name))
            folders[:] = sorted(set(folders) - set(tools))
            yield from (Path(parent, name) for name in sorted(set(files) - set(hidden)))

    def _set_aside(self, path: Path, *, named: bool = False) -> None:
        files = [name for _, _, names in os.walk(path) for name in names] if path.is_dir() else [path.name]
        # Files that begin with `._` are metadata of macOS.
        count = sum(has_image_name(name) and not name.startswith("._") for name in files)
        if count:
            self.set_aside[self._name(path)] = count
        elif named:
            self.ignored.append(self._name(path))

    def _name(self, path: Path) -> str:
        return escaped_name(path.relative_to(self.root).as_posix()) + ("/" if path.is_dir() else "")


def has_image_name(name: str) -> bool:
    """Return whether a file is named like an image, by its suffix, even if that is followed by something."""
    return _IMAGE_NAME.search(name) is not None


def classify_file(path: Path) -> tuple[bool, str | None]:
    """Return whether a file is an image to decode; if it is not but looks like one, also the cause."""
    suffix = path.suffix.lower()
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False, "it is not an ordinary file" if has_image_name(path.name) else None
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
    if not has_image_name(path.name) and not (kind is not None and kind.is_image):
        return False, None
    return False, f"its format is not supported: {CONVERT}" if kind is None else f"it is {kind.name}: {kind.advice}"


def _unopened(path: Path, error: OSError) -> str | None:
    if isinstance(error, FileNotFoundError) and path.is_symlink():
        target = os.readlink(path)
        if not has_image_name(path.name) and not has_image_name(target):
            return None
        advice = ": run `git annex get`" if "annex/objects" in target else ""
        return f"its link leads to {escaped_name(target)}, which is missing{advice}"
    return f"it cannot be opened: {error.strerror}"


def _refuse(error: OSError) -> None:
    raise DataError(f"{error.filename} cannot be listed: {error.strerror}: change its permissions, or remove it")


def causes_text(causes: Mapping[str, str]) -> str:
    """Return the most common causes, each with its first files and the number of others."""
    files: dict[str, list[str]] = {}
    for name in sorted(causes):
        files.setdefault(causes[name], []).append(name)
    common = sorted(files, key=lambda cause: -len(files[cause]))
    parts = [f"{shortened(files[cause], NAMES_SHOWN)}: {cause}" for cause in common[:CAUSES_SHOWN]]
    if len(common) > CAUSES_SHOWN:
        parts.append(f"and {len(common) - CAUSES_SHOWN:,} other causes")
    return "; ".join(parts)
