"""The command that exports a network as a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgenas.cli.options import (
    AsJson,
    AsZip,
    Batch,
    Budgets,
    EmbedPreprocessing,
    ExportedArch,
    On,
    Out,
    Output,
    Pack,
    Panel,
    Precision,
    Quiet,
    RunFolder,
    Sets,
    Target,
    Unpack,
    Web,
    WebRuntime,
    print_json,
)
from edgenas.cli.run_commands import exit_by_verdict, print_packed, run_stage
from edgenas.cli.run_source import RunSource, build_reach
from edgenas.errors import ConfigError, Packed, RunFolderError
from edgenas.files import user_path

if TYPE_CHECKING:
    # Importing them loads torch, which `--help` can do without.
    from edgenas.runs.run import Run
    from edgenas.stages.shipping.bundle_network import BundleOptions

app = typer.Typer()


@app.command(rich_help_panel=Panel.EXPORT)
def export(
    target: Target,
    budget: Budgets = None,
    sets: Sets = None,
    run: RunFolder = None,
    arch: ExportedArch = None,
    precision: Precision = None,
    batch: Batch = None,
    embed_preprocessing: EmbedPreprocessing = False,
    out: Out = None,
    as_zip: AsZip = False,
    web: Web = None,
    web_runtime: WebRuntime = None,
    on: On = None,
    pack: Pack = None,
    unpack: Unpack = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Export the chosen network to ONNX, check the file and bundle it; options choose another network or format."""
    if web_runtime and not web:
        raise ConfigError("--web-runtime needs the page of --web FOLDER: add --web, or leave it out")
    output, reach = Output(as_json, quiet), build_reach(on, pack, unpack)
    other_options = embed_preprocessing or not all(option is None for option in (arch, precision, batch, out))
    if not (other_options or as_zip or web):
        run_stage("export", RunSource(target, budget, sets, run, output, reach))
        return
    if budget or sets or run or not target.is_dir():
        raise RunFolderError(
            f"{target}: --arch, --precision, --batch, --embed-preprocessing, --out, --zip and --web need a run folder"
        )
    from edgenas.runs.run import open_run
    from edgenas.stages.shipping.bundle_network import BundleOptions
    from edgenas.stages.shipping.bundling import run_precision

    opened, options = open_run(target, reach), None
    if other_options:
        used = precision or run_precision(opened.config.export, opened.devices)
        options = BundleOptions(used, dynamic_batch=batch == "dynamic", embed_preprocessing=embed_preprocessing)
    _hand_over(opened, arch, options, out, as_zip, (web, web_runtime), output)


def _hand_over(
    run: Run,
    arch: str | None,
    options: BundleOptions | None,
    out: Path | None,
    as_zip: bool,
    page: tuple[Path | None, Path | None],
    output: Output,
) -> None:
    from edgenas.cli.summary_display import print_bundle
    from edgenas.deploy.bundle.bundle import read_bundle
    from edgenas.display import ProgressDisplay
    from edgenas.stages.bundle_extras import hand_over

    out, web, runtime = (path and user_path(path) for path in (out, *page))
    try:
        with ProgressDisplay(quiet=output.quiet) as progress:
            made = hand_over(
                run, arch or "chosen", options, out, as_zip=as_zip, web=web, web_runtime=runtime, progress=progress
            )
    except Packed as packed:
        print_packed(packed, output.as_json)
        return
    manifest = read_bundle(made.folder)
    extras = {"zip": made.zip, "web": made.web}
    if output.as_json:
        paths = {name: str(path) for name, path in extras.items() if path}
        print_json({"bundle": str(made.folder), **paths, **manifest.to_json()})
    else:
        print_bundle(manifest, str(made.folder))
        if made.zip:
            print(f"zip   {made.zip}")
        if made.web:
            print(f"page  {made.web}: python -m http.server -d {made.web}")
    exit_by_verdict(run.config.budgets, manifest.verdict)
