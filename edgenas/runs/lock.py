"""The lock of a run folder: one process at a time writes in it, and a killed one leaves nothing locked."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from edgenas.errors import RunFolderError

LOCK, HOLDER = ".lock", ".lock.pid"
TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}")
"""Names of what `tempfile` makes for atomic writes: a dot, the name to be, and eight characters."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `folder`, made if it is missing, for this process; temporary files of killed writes are removed.

    The operating system holds the lock, and releases it when the process ends in any way: a lock file that is left
    behind locks nothing.

    Raises:
        RunFolderError: another process holds it; its id is named.
        OSError: nothing can be written there.
    """
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise RunFolderError(
            f"{folder} is in use by {_holder(folder)}: wait until that ends, stop it, or choose another --run folder"
        ) from None
    except NotImplementedError as error:
        raise RunFolderError(f"{folder} cannot be locked ({error}): choose a --run folder on another disk") from None
    try:
        _take(folder)
        yield
    finally:
        (folder / HOLDER).unlink(missing_ok=True)
        lock.release()


def is_lock(path: Path) -> bool:
    """Return whether a file belongs to the lock."""
    return path.name in (LOCK, HOLDER)


def is_temporary(path: Path) -> bool:
    """Return whether a path is a temporary file of a killed write."""
    return TEMPORARY.fullmatch(path.name) is not None


def _take(folder: Path) -> None:
    # On a full disk the lock still holds; only its holder is not recorded.
    with suppress(OSError):
        (folder / HOLDER).write_text(f"{os.getpid()}\n", encoding="utf-8")
    for path in sorted(folder.rglob(".*")):
        if is_temporary(path):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def _holder(folder: Path) -> str:
    try:
        return f"process {int((folder / HOLDER).read_text(encoding='utf-8'))}"
    except (OSError, ValueError):
        return "another process"
