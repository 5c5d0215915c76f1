"""WeightsFile: a file of pretrained weights whose digest was checked; Source: a network by name, and its file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import nn

from edgenas.errors import WeightsError
from edgenas.files import write_text
from edgenas.progress import Progress
from edgenas.records.weights import HashFrom
from edgenas.supernet.pretrained.state_dict_file import sha256_of

DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights.

    Attributes:
        path: the file, whose digest was compared with the published one or with that of the first download.
        origin: package and version, URL, or file name.
        licence: licence as stated by the source; None where it states none.
        sha256: digest of the file.
        hash_from: source of the digest.
        top1_percent: ImageNet top-1 that the publisher states, in percent; None where none is stated.
    """

    path: Path
    origin: str
    licence: str | None
    sha256: str
    hash_from: HashFrom
    top1_percent: float | None = None


class Source(Protocol):
    """A pretrained network by name."""

    def module(self) -> nn.Module:
        """Return the network without weights, on the device meta."""

    def file(self, progress: Progress | None) -> WeightsFile:
        """Return the file of its weights, downloaded if it is not in the cache, and checked.

        Raises:
            WeightsError: the file cannot be had, or its digest is another than the published one.
        """


def check_published(path: Path, published: str, remedy: str) -> str:
    """Return the SHA-256 of a file, which begins with the published digits.

    Args:
        path: the file.
        published: first digits, or all, of the digest that the publisher states.
        remedy: how to get the right file, as an imperative clause.

    Raises:
        WeightsError: the file is another.
    """
    sha256 = sha256_of(path)
    if not sha256.startswith(published):
        raise WeightsError(f"weights: {path} has SHA-256 {sha256}, but the published one is {published}: {remedy}")
    return sha256


def check_pinned(path: Path, remedy: str) -> str:
    """Return the SHA-256 of a file for which none is published.

    The first time, it is written into a file beside it, like `net.pth.sha256`, which `sha256sum -c` reads, too. From
    then on the file must be the same.

    Raises:
        WeightsError: the file changed, or its digest cannot be read or written.
    """
    sha256, pin = sha256_of(path), path.with_name(f"{path.name}.sha256")
    try:
        if not pin.exists():
            write_text(pin, f"{sha256}  {path.name}\n")
        pinned = pin.read_text(encoding="utf-8", errors="replace").partition(" ")[0].strip()
    except OSError as error:
        raise WeightsError(f"weights: {pin} cannot be read or written: {error.strerror}") from None
    if not DIGEST.fullmatch(pinned):
        raise WeightsError(f"weights: {pin} holds no SHA-256: remove it if you trust {path.name}, or {remedy}")
    if pinned != sha256:
        raise WeightsError(
            f"weights: {path} has SHA-256 {sha256}, but {pinned} when it was first used: {remedy}; if you trust the "
            f"new file, remove {pin.name}"
        )
    return sha256
