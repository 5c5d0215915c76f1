"""Download weights from a URL into the cache of torch.hub, where torchvision looks for them, too.

torch.hub draws a progress bar of its own, which would break that of edgenas; so only its folder and its file names are
used here.
"""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import Request, urlopen

import torch.hub

from edgenas.errors import WeightsError, first_line
from edgenas.progress import Progress
from edgenas.supernet.pretrained.weights_file import check_pinned, check_published

CHUNK_BYTES = 2**20
TIMEOUT_S = 60.0
"""Longest wait for the next bytes."""
HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.")
"""Beginning of the SHA-256 in a file name, as torch.hub defines it."""


def cached_path(url: str) -> Path:
    """Return the path of a URL's file in the cache of torch.hub."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name


def downloaded(name: str, urls: Sequence[str], progress: Progress | None) -> Path:
    """Return the file of the first URL that can be had, from the cache if it is there.

    Args:
        name: name of the network, for messages.
        urls: places of the same file.
        progress: called with the megabytes done and all; None to report nothing.

    Raises:
        WeightsError: no URL can be had; the message states which file to fetch and where to put it.
    """
    path = cached_path(urls[0])
    if path.exists():
        return path
    causes = []
    for url in urls:
        try:
            _download(url, path, progress)
            return path
        except (OSError, HTTPException, ValueError) as error:
            causes.append(f"{url} ({getattr(error, 'reason', None) or first_line(error)})")
    raise WeightsError(
        f"weights {name}: cannot download {' or '.join(causes)}: fetch that file on another machine, save it as "
        f"{shlex.quote(str(path))}, and repeat the command"
    )


def check_file(path: Path) -> tuple[str, bool]:
    """Return the SHA-256 of a downloaded file, and whether it was compared with the digits in the file's name.

    Where the name has none, it is compared with that of the first download.

    Raises:
        WeightsError: the file is another.
    """
    remedy = f"remove {shlex.quote(str(path))} and repeat the command, which downloads it again"
    if match := HASH_IN_NAME.search(path.name):
        return check_published(path, match[1], remedy), True
    return check_pinned(path, remedy), False


def _download(url: str, path: Path, progress: Progress | None) -> None:
    """Write the content of a URL to a file, which appears when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with (
            urlopen(Request(url, headers={"User-Agent": "torch.hub"}), timeout=TIMEOUT_S) as response,
            temporary.open("xb") as stream,
        ):
            total, done = int(response.headers["Content-Length"] or 0), 0
            while chunk := response.read(CHUNK_BYTES):
                done += stream.write(chunk)
                report_bytes(progress, path.name, done, total)
        if done < total:
            raise OSError(f"it ended after {done:,} of {total:,} bytes")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def report_bytes(progress: Progress | None, name: str, done: int, total: int) -> None:
    """Report the progress of a download, in megabytes; of unknown `total` (0), all that is done is the whole."""
    if progress is not None:
        progress(f"download {name}: MB", *(-(-count // 10**6) for count in (done, max(done, total))))
