"""Commands on search spaces."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from edgenas.cli.options import AsJson, Panel, Quiet, print_json
from edgenas.errors import UserError, shown
from edgenas.files import prove_writable, user_path, write_text

app = typer.Typer(help="Make a search space.", no_args_is_help=True)
listing = typer.Typer()
SHIPPED_CLASSES = 10
"""Number of classes that MACs are counted for where the images are unknown."""


def _numbers(kind: Callable[[str], Any]) -> Any:
    """Return the parser of an option's numbers, which have commas between them."""

    def parse(text: str) -> tuple[Any, ...]:
        try:
            return tuple(kind(part) for part in text.split(",") if part.strip())
        except ValueError:
            raise typer.BadParameter(f"expected numbers with commas between them, got {shown(text)}") from None

    return parse


def _option(kind: Callable[[str], Any], what: str) -> Any:
    return typer.Option(parser=_numbers(kind), metavar="N,N,…", help=what)


@app.callback()
def _space() -> None:
    """Make a search space."""


@app.command("from")
def space_from_command(
    network: Annotated[
        str,
        typer.Argument(
            help="A network of torchvision or timm, like mobilenet_v3_large, or a preset like ofa-mbv3-w1.0."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The YAML file to write.")],
    kernels: Annotated[
        Any, _option(int, "Kernel sizes below the network's own; 0: leave out MobileNetV4's first of two.")
    ] = "0,3,5,7",
    expand_ratios: Annotated[Any, _option(float, "Expand ratios below the network's own.")] = "2,3,4,6",
    depths: Annotated[
        Optional[Any],  # noqa: UP045
        _option(int, "Numbers of blocks of a stage. Default: from half of the network's on."),
    ] = None,
    widths: Annotated[Any, _option(float, "Channels of stages, as shares of the network's.")] = "0.75",
    resolutions: Annotated[
        Optional[Any],  # noqa: UP045
        _option(int, "All input sizes, in pixels. Default: the network's, and three in steps of 32 below."),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write the search space around a network: it, and networks of fewer layers, channels, pixels, smaller kernels."""
    from edgenas.quantities import format_count
    from edgenas.space.covering_samples import macs_of
    from edgenas.space.writing import dump_space
    from edgenas.supernet.pretrained.networks import space_from

    target = user_path(out)
    if target.exists():
        raise UserError(f"{target} exists: choose another --out, or remove it")
    prove_writable(target)
    bounds = {"kernels": kernels, "expand_ratios": expand_ratios, "depths": depths, "widths": widths}
    space = space_from(network, **bounds, resolutions=resolutions)
    write_text(target, dump_space(space))
    smallest, largest = macs_of(space.with_classes(SHIPPED_CLASSES), [space.smallest, space.largest])
    if as_json:
        macs = {"smallest_macs": int(smallest), "largest_macs": int(largest)}
        print_json({"file": str(target), "name": space.name, "architectures": space.size, **macs})
    elif not quiet:
        print(
            f"wrote {target}: {space.size:.2g} architectures, {format_count(smallest)} to {format_count(largest)} MACs"
        )
        print(f"name it in a config: space: {target}")


@listing.command("spaces", rich_help_panel=Panel.LOOK)
def spaces_command(as_json: AsJson = False, quiet: Quiet = False) -> None:
    """List the spaces that ship with edgenas: their architectures, MACs (with 10 classes), and what each is for."""
    from edgenas.display import print_table
    from edgenas.quantities import format_count
    from edgenas.space.covering_samples import macs_of
    from edgenas.space.loading import load_space, preset_names

    spaces = [load_space(name) for name in preset_names()]
    ends = [macs_of(space.with_classes(SHIPPED_CLASSES), [space.smallest, space.largest]) for space in spaces]
    if as_json:
        rows = [
            {
                "name": space.name,
                "architectures": space.size,
                "smallest_macs": int(smallest),
                "largest_macs": int(largest),
                "resolutions": list(space.resolution),
                "description": space.description,
            }
            for space, (smallest, largest) in zip(spaces, ends, strict=True)
        ]
        print_json({"spaces": rows})
        return
    lines = [
        [space.name, f"{space.size:.2g}", f"{format_count(smallest)} to {format_count(largest)}", space.description]
        for space, (smallest, largest) in zip(spaces, ends, strict=True)
    ]
    print_table(["space", "architectures", "MACs", "for"], lines, right=["architectures"])
