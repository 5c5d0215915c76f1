"""Reproducible entries of zip archives: all have the date 1980, the earliest that a zip can state."""

from __future__ import annotations

import stat
import zipfile

ZIP_DATE = (1980, 1, 1, 0, 0, 0)


def zip_entry(name: str) -> zipfile.ZipInfo:
    """Return the entry of a file with mode 0644."""
    entry = zipfile.ZipInfo(name, ZIP_DATE)
    entry.external_attr = (stat.S_IFREG | 0o644) << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry
