"""What is settled before rivals are taught: their sizes, by measured latency, and how many steps each is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from edgenas.errors import RunFolderError, explained
from edgenas.files import read_json, write_json
from edgenas.pipeline.lone import Lone
from edgenas.pipeline.profile import run_predictors
from edgenas.pipeline.rivals import Timer, as_fast, draw, fits, rival_device, widest, widths
from edgenas.pipeline.run import Progress, Run
from edgenas.space.arch import Arch

MOST_NETWORKS = 50
"""Of a random search."""
SPARE = 2
"""Networks drawn for each one wanted: some are slower than predicted."""


@dataclass(frozen=True)
class Settled:
    """What was decided, and kept.

    Attributes:
        setting: digest of all that it depends on.
        seconds: of each rival and seed.
        width: of MobileNetV3-Small.
        mobilenet_steps: of its training.
        archs: by seed, the networks of the random search.
        random_steps: of the training of each.
        epoch_steps: of a network taught alone for as many epochs as the supernet.
        p50_us: measured with random weights, by network; `chosen` among them.
    """

    setting: str
    seconds: float
    width: float
    mobilenet_steps: int
    archs: dict[str, list[str]]
    random_steps: int
    epoch_steps: int
    p50_us: dict[str, float]

    @classmethod
    def read(cls, path: Path, setting: str) -> Settled | None:
        """What stands in a file, if it was decided for this setting.

        Raises:
            RunFolderError: the file is none of ours.
        """
        if not path.exists():
            return None
        value = read_json(path, "run `edgenas worth` again")
        if value.get("setting") != setting:
            return None
        try:
            return TypeAdapter(cls).validate_python(value)
        except ValidationError as error:
            again = "delete it and run `edgenas worth` again"
            raise RunFolderError(f"{path}: {explained(error.errors())}: {again}") from None


@dataclass(frozen=True)
class Wanted:
    """What rivals are sized for.

    Attributes:
        chosen: the network that they are to be as fast as.
        classes: logits.
        seconds: of each rival and seed.
        seeds: of the random search.
        epochs: that each of its networks is to have, about.
    """

    chosen: Arch
    classes: int
    seconds: float
    seeds: Sequence[int]
    epochs: float


def settle(run: Run, lone: Lone, wanted: Wanted, timer: Timer, path: Path, setting: str, progress: Progress) -> Settled:
    """Decide, and write it down: a command that goes on must find the same rivals."""
    progress("sizing rivals", 0, 3)
    ladder = widths(run.space, wanted.classes)
    epoch_steps = lone.steps(wanted.epochs)
    step_seconds = lone.seconds(run.space.unroll(wanted.chosen, wanted.classes), 1)
    count = int(min(MOST_NETWORKS, max(1, wanted.seconds // (epoch_steps * step_seconds))))
    predictor = run_predictors(run)[rival_device(run).name]
    # Seeds of their own: the search's first archs are drawn from the run's.
    drawn = {seed: draw(run.space, predictor, wanted.chosen, SPARE * count + SPARE, seed + 1) for seed in wanted.seeds}
    progress("sizing rivals", 1, 3)
    networks = {f"width {width}": specs for width, specs in ladder.items()}
    networks |= {arch.id: run.space.unroll(arch, wanted.classes) for archs in drawn.values() for arch in archs}
    p50_us, chosen_us = as_fast(run, wanted.chosen, networks, wanted.classes, timer)
    progress("sizing rivals", 2, 3)
    width = widest({width: p50_us[f"width {width}"] for width in ladder}, chosen_us)
    archs = {str(seed): _kept(own, p50_us, chosen_us, count) for seed, own in drawn.items()}
    found = Settled(
        setting,
        wanted.seconds,
        width,
        max(1, int(wanted.seconds / lone.seconds(ladder[width], 1))),
        archs,
        # What is left over when whole networks are counted is shared among them.
        max(1, int(wanted.seconds / (min(map(len, archs.values())) * step_seconds))),
        epoch_steps,
        {**p50_us, "chosen": chosen_us},
    )
    write_json(path, asdict(found))
    progress("sizing rivals", 3, 3)
    return found


def _kept(archs: Sequence[Arch], p50_us: dict[str, float], chosen_us: float, count: int) -> list[str]:
    """Those that are as fast as the chosen one; the fastest, if none is."""
    fast = [arch.id for arch in archs if fits(p50_us[arch.id], chosen_us)][:count]
    return fast or [min((arch.id for arch in archs), key=p50_us.__getitem__)]
