"""Options that several commands take, the panels of the help, and how `--json` prints.

A flag has one meaning in all commands.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Optional

import typer


class Panel(StrEnum):
    """Panels of `edgenas --help`."""

    RUN = "Run"
    LOOK = "Look"
    DEVICE = "Device"
    EXPORT = "Export"
    STUDY = "Study"


def check_positive(value: float | None) -> float | None:
    """Return the value of an option.

    Raises:
        typer.BadParameter: not a number above zero.
    """
    if value is not None and not (math.isfinite(value) and value > 0):
        raise typer.BadParameter(f"expected a number above zero, got {value:g}")
    return value


Target = Annotated[
    Path,
    typer.Argument(help="A config (YAML), like those in examples/, that starts a run, or a run folder to resume."),
]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]
Sets = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--set", help="Override a key of the config: search.evaluations=200. Repeatable."),
]
Budgets = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--budget", help="A hard limit: 0.4ms, 8ms@p95, pi4=20ms, macs=10M, weight_bytes=400kB. Repeatable."),
]
RunFolder = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--run", help="The run folder. Default: runs/NAME, NAME from the config."),
]
TrainMinutes = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(
        "--train-minutes",
        metavar="N",
        callback=check_positive,
        help="Train the supernet for about N minutes instead of train.epochs. A few steps are timed when training "
        "begins; the number of steps that follows is kept, however often training is stopped.",
    ),
]
WholeMinutes = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(
        "--minutes",
        metavar="N",
        callback=check_positive,
        help="Measure, train, search and fine-tune for about N minutes in all (minutes), instead of train.epochs.",
    ),
]
Classes = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(metavar="N", min=2, help="Number of classes, with the name of a space instead of a config."),
]
DeviceMinutes = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(
        "--device-minutes",
        metavar="N",
        callback=check_positive,
        help="Measure each device for at most N minutes (profile.minutes). Fewer blocks are measured then, regression "
        "estimates the others, and intervals are wider.",
    ),
]
Evaluations = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(metavar="N", min=2, help="Evaluations of the search in all. With a run folder, extends the search."),
]
Initial = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(metavar="RUN", help="Start from the front of another run, for example one for another device."),
]


FinetuneEpochs = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(
        "--epochs",
        metavar="E",
        callback=check_positive,
        help="Epochs of fine-tuning (finetune.epochs). With a run folder, the network is fine-tuned again.",
    ),
]
Onto = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(
        metavar="FOLDER", help="Class folders of other images (finetune.data): the network gets a new classifier."
    ),
]


def _silence_notes(ctx: typer.Context, quiet: bool) -> bool:
    """Log errors only while the command runs."""
    logger = logging.getLogger("edgenas")
    if quiet:
        before = logger.level
        logger.setLevel(logging.ERROR)
        ctx.call_on_close(lambda: logger.setLevel(before))
    return quiet


class Output(NamedTuple):
    """What a command prints: its result as JSON or as text, with or without progress."""

    as_json: bool
    quiet: bool


Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", callback=_silence_notes, help="Print the result and errors only: no progress."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object on standard output.")]
ExportedArch = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--arch",
        metavar="ARCH|chosen|best:K",
        help="Another network: an architecture of the space or shelf, or the K-th best of the front within budget.",
    ),
]
Precision = Annotated[
    Optional[Literal["fp32", "int8"]],  # noqa: UP045
    typer.Option(help="int8 adds model_int8.onnx. Default: the config's."),
]
Batch = Annotated[
    Optional[Literal["1", "dynamic"]],  # noqa: UP045
    typer.Option(help="dynamic: any number of images at once. Default: 1."),
]
EmbedPreprocessing = Annotated[
    bool,
    typer.Option("--embed-preprocessing", help="The model takes resized and cropped pixels (uint8) and normalises."),
]
Out = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(help="The bundle's folder. Default: in RUN/export/, named after the architecture and these options."),
]
AsZip = Annotated[
    bool, typer.Option("--zip", help="Also write the bundle as a zip beside its folder; verify.py reads it unpacked.")
]
Web = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--web", metavar="FOLDER", help="Write a page that runs the model in a browser, for any web server."),
]
WebRuntime = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(
        "--web-runtime",
        metavar="DIST",
        help="onnxruntime-web's dist folder (npm install onnxruntime-web), to copy beside the page. Default: the page "
        "fetches it from a public server.",
    ),
]
On = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--on",
        metavar="[DEVICE=]PLACE",
        help="Address of a device: pi4=ssh://user@host[:port][?python=/path/to/python3]. No file stores it: repeat it "
        "when a run resumes. `browser` is the web browser on this machine. Repeatable.",
    ),
]
Pack = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(metavar="KIT.ZIP", help="Pack a kit that measures on a device out of reach, and stop."),
]
Unpack = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(metavar="RESULTS.ZIP", help="Read the measurements of a kit, and continue."),
]
Plan = Annotated[bool, typer.Option("--plan", help="Print what is left to do and how long it takes, and do nothing.")]


def print_json(value: Mapping[str, object]) -> None:
    """Print one JSON object on standard output."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))
