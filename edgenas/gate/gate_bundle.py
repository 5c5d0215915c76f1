"""The bundle that a gate judges: proven whole, then read again, and only what was proven is used."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgenas.budget import Budget
from edgenas.deploy.bundle.bundle import MANIFEST, MODEL
from edgenas.deploy.bundle.manifest import digest_of
from edgenas.deploy.bundle.manifest_values import stated, stated_model
from edgenas.environment import script_command
from edgenas.errors import ConfigError, RunFolderError, one_of, shown
from edgenas.files import shipped
from edgenas.profiling.timer_rows import printable

DIGEST = re.compile(r"[0-9a-fA-F]{12,64}")
LONGEST_LINE = 1000


def prove(bundle: Path, digest: str | None = None) -> dict[str, Any]:
    """Return the findings of the kit's verify.py: the installed one, not the bundle's.

    Args:
        bundle: a folder or a zip.
        digest: expected digest of the manifest, all 64 hexadecimal digits or the first 12 or more.

    Raises:
        RunFolderError: there is no bundle.
        ConfigError: `digest` is none.
    """
    if not bundle.exists():
        raise RunFolderError(f"{bundle} does not exist: `edgenas export RUN` writes a bundle")
    if digest is not None and not DIGEST.fullmatch(digest):
        raise ConfigError(
            f"--digest: expected 12 to 64 hexadecimal digits, as verify.py prints them, got {shown(digest)}"
        )
    pinned = ["--digest", digest] if digest else []
    words = script_command(shipped("export") / "verify.py", "--json", *pinned, "--", str(bundle))
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )
    try:
        proven = dict(json.loads(done.stdout))
    except ValueError:
        message = " ".join(done.stderr.split())[-300:] or "verify.py gave no answer"
        proven = {"ok": False, "checks": [{"check": MANIFEST, "ok": False, "message": message}]}
    for check in proven["checks"]:
        check["message"] = printable(check["message"], LONGEST_LINE)
    return proven


def read_manifest(bundle: Path, digest: str) -> dict[str, Any]:
    """Return the manifest that was proven.

    Args:
        bundle: a folder or a zip.
        digest: the digest that `prove` returned.

    Raises:
        RunFolderError: the bundle was changed since.
    """
    manifest = json.loads(_bytes(bundle, MANIFEST))
    if not isinstance(manifest, dict) or digest_of(manifest) != digest:
        raise _changed(bundle)
    return manifest


def take_model(bundle: Path, manifest: Mapping[str, Any], name: str, folder: Path) -> Path:
    """Copy one of the bundle's files, since the timer keeps its rows beside what it times.

    Raises:
        RunFolderError: the bundle was changed since it was proven.
    """
    data = _bytes(bundle, name)
    if hashlib.sha256(data).hexdigest() != manifest["files"][name]:
        raise _changed(bundle)
    (folder / name).write_bytes(data)
    return folder / name


def _bytes(bundle: Path, name: str) -> bytes:
    """Return a file of a bundle that was found harmless."""
    if bundle.is_dir():
        return (bundle / name).read_bytes()
    with zipfile.ZipFile(bundle) as archive:
        entries = [entry for entry in archive.infolist() if entry.filename.rpartition("/")[2] == name]
        if not entries:
            raise _changed(bundle)
        return archive.read(entries[0])


def _changed(bundle: Path) -> RunFolderError:
    return RunFolderError(f"{bundle} was changed while it was checked: run the same command again")


def chosen_device(manifest: Mapping[str, Any], requested: str | None, budgets: Sequence[Budget]) -> str | None:
    """Return which of the bundle's devices is asked about; None where the answer is the same for all, or there is none.

    Raises:
        ConfigError: several are asked about, or none of several, or one that the bundle was not measured on.
        ManifestError: the manifest does not say which files are deployed.
    """
    deployed = stated(manifest, dict[str, str], "deployed")
    names = [printable(name, 100) for name in deployed]
    requests = {name for name in (requested, *(budget.device for budget in budgets)) if name}
    timed = any(budget.quantity.per_device for budget in budgets)
    if len(requests) > 1:
        raise ConfigError(f"a gate measures one device, got {', '.join(sorted(requests))}: run it once for each")
    if (timed or requests) and not names:
        raise ConfigError(
            "the bundle was measured on no device, so nothing states how its latency is measured: leave latency "
            "budgets and --device out, or export from a run whose device is measured"
        )
    if requests:
        name = next(iter(requests))
        if name not in deployed:
            raise ConfigError(f"the bundle is for no device {name!r}; {one_of(name, names)}")
        return name
    if len(names) > 1 and (timed or len(set(deployed.values())) > 1):
        raise ConfigError(f"the bundle is for several devices: name one with --device; {one_of('', names)}")
    return next(iter(deployed)) if len(names) == 1 else None


def deployed_model(manifest: Mapping[str, Any], device: str | None) -> str:
    """Return the name of the file that is deployed on a device, or on all of them.

    Raises:
        ManifestError: it is no file of the bundle.
    """
    deployed = stated(manifest, dict[str, str], "deployed")
    names = list(deployed) if device is None else [device]
    if not names:
        stated(manifest, str, "files", MODEL)
        return MODEL
    return stated_model(manifest, "deployed", names[0])
