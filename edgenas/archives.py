"""Entries of zip archives that depend on their content alone, not on a clock: a zip cannot state a year before 1980."""

from __future__ import annotations

import stat
import zipfile

ZIP_DATE = (1980, 1, 1, 0, 0, 0)


def zip_entry(name: str) -> zipfile.ZipInfo:
    """Return the entry of a file that its owner may write and all may read."""
    entry = zipfile.ZipInfo(name, ZIP_DATE)
    entry.external_attr = (stat.S_IFREG | 0o644) << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry
