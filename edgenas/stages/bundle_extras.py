"""Outputs beside a run's bundle folder: a zip of the bundle and a page for browsers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgenas.deploy.bundle.bundle import check_zip_free, zip_bundle
from edgenas.deploy.bundle.web_page import DESCRIPTION, check_web_free, write_web
from edgenas.files import prove_writable
from edgenas.progress import Progress
from edgenas.runs.run import Run
from edgenas.stages.export import BUNDLE, bundle_folder, export_bundle, which_arch
from edgenas.stages.shipping.bundle_network import BundleOptions
from edgenas.stages.whole_run import run_stages


@dataclass(frozen=True)
class HandedOver:
    """The folder of a bundle, its zip and its page; None for what was not asked for."""

    folder: Path
    zip: Path | None
    web: Path | None


def hand_over(
    run: Run,
    which: str,
    options: BundleOptions | None,
    out: Path | None,
    *,
    as_zip: bool = False,
    web: Path | None = None,
    web_runtime: Path | None = None,
    progress: Progress,
) -> HandedOver:
    """Write a bundle, and the zip and the page that are asked for.

    Args:
        run: verified.
        which, options, out: see `export_bundle`; without options it is the run's own bundle, made if it is not there.
        as_zip: beside the bundle's folder, named after it.
        web: folder of the page.
        web_runtime: see `write_web`.
        progress: called with what is being done, steps done and in all.

    Raises:
        RunFolderError: a place is taken by something else; nothing is written then.
        OSError: nothing can be written to a place; this is checked before anything else is done.
    """
    folder = run.folder / BUNDLE
    if options is not None:
        folder = bundle_folder(run.folder, which_arch(run, which), options, out)
    path = folder.parent / f"{folder.name}.zip" if as_zip else None
    if path:
        check_zip_free(path)
    if web:
        check_web_free(web)
    for place in (folder, *([path] if path else []), *([web / DESCRIPTION] if web else [])):
        prove_writable(place)
    if options is None:
        run_stages(run, progress, ("export",))
    else:
        export_bundle(run, which, options, out, progress)
    return HandedOver(folder, path and zip_bundle(folder, path), web and write_web(folder, web, web_runtime))
