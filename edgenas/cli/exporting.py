"""Commands that hand a model over: export, and what looks at bundles."""

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
    On,
    Out,
    Pack,
    Precision,
    Quiet,
    RunFolder,
    Sets,
    Shown,
    Target,
    Unpack,
    Web,
    WebRuntime,
    Which,
    print_json,
)
from edgenas.cli.runs import exit_by_verdict, reach_of, run_stage, say_packed
from edgenas.errors import ConfigError, Packed, RunFolderError
from edgenas.files import read_json, user_path

if TYPE_CHECKING:
    # Not otherwise: it loads torch, which `--help` can do without.
    from edgenas.profiling.transport_registry import TransportRegistry
    from edgenas.stages.bundle_network import BundleOptions

app = typer.Typer()


@app.command()
def export(
    target: Target,
    budget: Budgets = None,
    sets: Sets = None,
    run: RunFolder = None,
    arch: Which = None,
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
    """Prove the chosen network's ONNX file and bundle it; or another network, or other options."""
    if web_runtime and not web:
        raise ConfigError("--web-runtime lies beside the page that --web FOLDER writes: add --web, or leave it out")
    shown, reach = Shown(as_json, quiet), reach_of(on, pack, unpack)
    separate = embed_preprocessing or not all(option is None for option in (arch, precision, batch, out))
    if not (separate or as_zip or web):
        run_stage("export", target, budget, sets, run, None, shown, reach)
        return
    if budget or sets or run or not target.is_dir():
        raise RunFolderError(
            f"{target}: --arch, --precision, --batch, --embed-preprocessing, --out, --zip and --web go with a run "
            "folder"
        )
    from edgenas.runs.folder import open_run
    from edgenas.stages.bundle_network import BundleOptions
    from edgenas.stages.bundling import run_precision

    options = None
    if separate:
        used = precision or run_precision(open_run(target, reach))
        options = BundleOptions(used, dynamic_batch=batch == "dynamic", embed_preprocessing=embed_preprocessing)
    _hand_over(target, arch, options, out, as_zip, (web, web_runtime), shown, reach)


def _hand_over(
    target: Path,
    arch: str | None,
    options: BundleOptions | None,
    out: Path | None,
    as_zip: bool,
    page: tuple[Path | None, Path | None],
    shown: Shown,
    reach: TransportRegistry,
) -> None:
    from edgenas.display import ProgressDisplay, print_bundle
    from edgenas.runs.folder import open_run
    from edgenas.stages.bundle_extras import hand_over

    run = open_run(target, reach)
    out, web, runtime = (path and user_path(path) for path in (out, *page))
    try:
        with ProgressDisplay(quiet=shown.quiet) as progress:
            made = hand_over(
                run,
                arch or "chosen",
                options,
                out,
                as_zip=as_zip,
                web=web,
                web_runtime=runtime,
                progress=progress,
            )
    except Packed as packed:
        say_packed(packed, shown.as_json)
        return
    manifest = read_json(made.folder / "manifest.json")
    places = {"zip": made.zip, "web": made.web}
    if shown.as_json:
        said = {name: str(place) for name, place in places.items() if place}
        print_json({"bundle": str(made.folder), **said, **manifest})
    else:
        print_bundle(manifest, str(made.folder))
        if made.zip:
            print(f"zip   {made.zip}")
        if made.web:
            print(f"page  {made.web}: python -m http.server -d {made.web}")
    exit_by_verdict(run, manifest["verdict"])
