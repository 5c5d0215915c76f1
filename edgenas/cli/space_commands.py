"""Commands on search spaces."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from edgenas.cli.options import AsJson, Panel, Quiet, print_json
from edgenas.errors import UserError, shown
from edgenas.files import prove_writable, user_path, write_text

if TYPE_CHECKING:
    from edgenas.space.cost import Cost
    from edgenas.space.space import SearchSpace

app = typer.Typer(help="Make a search space.", no_args_is_help=True)
listing = typer.Typer()
SHIPPED_CLASSES = 10
"""Number of classes that MACs and parameters are counted for where the images are unknown."""


def _numbers(kind: Callable[[str], Any]) -> Any:
    """Return the parser of an option's numbers, which have commas between them."""

    def parse(text: str) -> tuple[Any, ...]:
        try:
            return tuple(kind(part.strip()) for part in text.split(",") if part.strip())
        except ValueError:
            raise typer.BadParameter(f"expected numbers with commas between them, got {shown(text)}") from None

    return parse


def _option(kind: Callable[[str], Any], what: str, form: str = "N,N,…") -> Any:
    return typer.Option(parser=_numbers(kind), metavar=form, help=what)


@app.callback()
def _space() -> None:
    """Make a search space."""


@app.command("from")
def space_from_command(
    network: Annotated[
        str,
        typer.Argument(
            help="A network of torchvision or timm, like mobilenet_v3_large; or a name of train.init, like "
            "efficientnet-lite0, torchvision:mobilenet_v2, timm:mobilenetv3_large_100 or hf:ORG/REPO. Or, without "
            "options, ofa:w1.0 or ofa:w1.2."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The YAML file to write.")],
    kernels: Annotated[
        Any,
        _option(
            int,
            "Kernel sizes that a block offers beside its own, if smaller. 0: a MobileNetV4 block with two depthwise "
            "convolutions may omit the first.",
        ),
    ] = "0,3,5,7",
    expand_ratios: Annotated[
        Any, _option(float, "Expand ratios that a block offers beside its own, if smaller.")
    ] = "2,3,4,6",
    depths: Annotated[
        Optional[Any],  # noqa: UP045
        _option(int, "Numbers of blocks of a stage. Default: from half of the network's on."),
    ] = None,
    widths: Annotated[Any, _option(float, "Channels of stages, as shares of the network's.")] = "0.75",
    activations: Annotated[
        Any, _option(str, "Activations that blocks offer beside the network's own, like relu.", "NAME,…")
    ] = "",
    squeeze_ratios: Annotated[
        Any,
        _option(
            float,
            "Squeeze-excite's channels beside the network's, as shares below 0.25 of the block's expanded channels "
            "(EfficientNet: of its input channels). 0: blocks may lack it.",
        ),
    ] = "",
    resolutions: Annotated[
        Optional[Any],  # noqa: UP045
        _option(int, "All input sizes, in pixels. Default: the network's, and three in steps of 32 below."),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write the search space around a network: it, and networks of fewer layers, channels, pixels, smaller kernels."""
    target = user_path(out)
    if target.exists():
        raise UserError(f"{target} exists: choose another --out, or remove it")
    prove_writable(target)
    # torch takes seconds to import: the file is checked first.
    from edgenas.space.space_yaml import dump_space
    from edgenas.supernet.pretrained.networks import space_from

    bounds = {"kernels": kernels, "expand_ratios": expand_ratios, "depths": depths, "widths": widths}
    more = {"activations": activations, "squeeze_ratios": squeeze_ratios, "resolutions": resolutions}
    space = space_from(network, **bounds, **more)
    write_text(target, dump_space(space))
    if as_json:
        print_json({"file": str(target), **_facts(space)})
    elif not quiet:
        *_, size, macs, _ = _cells(space)
        print(f"wrote {target}: {size} architectures, {macs} MACs")
        print(f"name it in a config: space: {target}")


@listing.command("spaces", rich_help_panel=Panel.LOOK)
def spaces_command(as_json: AsJson = False, quiet: Quiet = False) -> None:
    """List the spaces that ship with edgenas, and what each is for. MACs and parameters are those with 10 classes."""
    from edgenas.display import print_line, print_table
    from edgenas.space.loading import load_space, preset_names

    spaces = [load_space(name) for name in preset_names()]
    if as_json:
        print_json({"num_classes": SHIPPED_CLASSES, "spaces": [_facts(space) for space in spaces]})
        return
    columns = ["space", "pixels", "networks", "MACs", "parameters"]
    print_table(columns, map(_cells, spaces), right=["networks"])
    print()
    for space in spaces:
        print_line(f"{space.name}: {space.description}")


def _cells(space: SearchSpace) -> list[str]:
    from edgenas.quantities import format_count

    smallest, largest = _ends(space)
    ranges = [(smallest.macs, largest.macs), (smallest.params, largest.params)]
    formatted = [f"{format_count(least)} to {format_count(most)}" for least, most in ranges]
    return [space.name, f"{space.resolution[0]} to {space.resolution[-1]}", f"{space.size:.2g}", *formatted]


def _facts(space: SearchSpace) -> dict[str, object]:
    smallest, largest = _ends(space)
    return {
        "name": space.name,
        "description": space.description,
        "resolutions": list(space.resolution),
        "architectures": space.size,
        "smallest_macs": smallest.macs,
        "largest_macs": largest.macs,
        "smallest_params": smallest.params,
        "largest_params": largest.params,
    }


def _ends(space: SearchSpace) -> tuple[Cost, Cost]:
    """Return the costs of the smallest and of the largest architecture."""
    from edgenas.space.cost import cost

    classifiers = space.with_classes(SHIPPED_CLASSES)
    return cost(classifiers.unroll(space.smallest)), cost(classifiers.unroll(space.largest))
