"""Runs that `trust.py` and `worth.py` look at: their configs, images, hours and results."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine import machine, versions

from edgenas.config.reading import load_config
from edgenas.config.run_config import RunConfig
from edgenas.display import ProgressDisplay
from edgenas.files import read_json, write_json
from edgenas.runs.run import Run
from edgenas.stages.plan import plan_run
from edgenas.stages.start import start_run
from edgenas.stages.whole_run import run_stages

EXAMPLES = Path(__file__).parents[2] / "examples"


@dataclass(frozen=True)
class Setting:
    """A set: the example that it is trained by; epochs of the supernet and of fine-tuning; how many subnets."""

    example: str
    epochs: float
    tuned_epochs: float
    subnets: int


SETTINGS = {
    "fashion-mnist": Setting("fashion_mnist.yaml", 6, 20, 12),
    "cifar-10": Setting("imagefolder.yaml", 8, 20, 10),
}
SUBNETS_PER_STEP = 4
"""Archs that the supernets are trained at each step."""
SEARCH = ("search.strategy=nsga2", "search.evaluations=120", "search.population=12")
TUNED_RATE = 0.5
"""Peak of the learning rate of fine-tuning, as a share of the supernet's."""


def parser(doc: str) -> argparse.ArgumentParser:
    """Options that both scripts take."""
    command = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("--sets", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    command.add_argument("--images", type=int, default=20_000, help="training images: a fixed, stratified subset")
    command.add_argument("--work", type=Path, required=True, help="folder of runs; the same command resumes them")
    command.add_argument("--out", type=Path, required=True, help="JSON; figures are put beside it")
    command.add_argument("--jobs", type=int, default=1, help="networks trained from scratch at a time, a process each")
    command.add_argument("--estimate", action="store_true", help="only say how many hours are left")
    command.add_argument("--set", action="append", default=[], help="override a key of the configs")
    return command


def config_of(name: str, args: argparse.Namespace) -> RunConfig:
    """The config of a set's run."""
    setting = SETTINGS[name]
    own = [f"name={name}", f"data.limit={args.images}", f"train.epochs={setting.epochs}"]
    own += [f"train.subnets_per_step={SUBNETS_PER_STEP}", *SEARCH]
    own += [f"finetune.epochs={setting.tuned_epochs}", f"finetune.learning_rate_share={TUNED_RATE}"]
    if name == "cifar-10":
        own.append(f"data.path={images_of_cifar(args.work)}")
    return load_config(EXAMPLES / setting.example, [*own, *args.set])


def images_of_cifar(work: Path) -> Path:
    """CIFAR-10 as class folders, unpacked once."""
    folder = work / "cifar10-png"
    if not folder.is_dir():
        if "EDGENAS_DATA" not in os.environ:
            raise SystemExit("EDGENAS_DATA is not set: it names the folder of shared data (cifar10-png.tar)")
        part = work / "cifar10-png.part"
        shutil.rmtree(part, ignore_errors=True)
        with tarfile.open(Path(os.environ["EDGENAS_DATA"]) / "cifar10-png.tar") as archive:
            archive.extractall(part, filter="data")
        # One folder that holds train/ and test/, whatever the archive calls it.
        inner = next(path.parent for path in part.rglob("train") if path.is_dir())
        inner.rename(folder)
        shutil.rmtree(part, ignore_errors=True)
    return folder


def begun(name: str, args: argparse.Namespace) -> Run:
    """The run of a set, with nothing done yet that was not done before."""
    return start_run(config_of(name, args), args.work / name)


def seconds_left(run: Run, stages: tuple[str, ...]) -> float:
    """Return the seconds of unfinished stages, as `--plan` estimates them."""
    return sum(one.seconds for one in plan_run(run.config, run.folder) if one.stage in stages and not one.done)


def tell_hours(seconds: dict[str, float]) -> None:
    """The estimate, on standard error."""
    for name, own in seconds.items():
        print(f"{name}: about {own / 3600:.2f} hours left", file=sys.stderr)
    print(f"in all about {sum(seconds.values()) / 3600:.2f} hours", file=sys.stderr)


def do(run: Run, stages: tuple[str, ...]) -> None:
    """Stages of a run; finished ones are passed over, and so is fine-tuning where none is asked for."""
    with ProgressDisplay() as progress:
        run_stages(run, progress, stages)


def circumstances() -> dict[str, Any]:
    """Command, machine and versions that a table was made with."""
    return {
        "command": " ".join(["python", f"tests/benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "machine": machine(),
        "versions": versions("torch", "numpy", "onnxruntime"),
    }


@dataclass(frozen=True)
class Rows:
    """A run's rows, kept beside its results, too, so that hours of work can be resumed in a new run folder."""

    inside: Path
    beside: Path

    @classmethod
    def of(cls, run: Run, folder: str, out: Path) -> Rows:
        return cls(run.folder / folder / "rows.jsonl", out.with_name(f"{out.stem}_{run.config.name}.jsonl"))

    def take_up(self) -> None:
        """Let a run folder that has none have those that lie beside the results."""
        if self.beside.exists() and not self.inside.exists():
            self.inside.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.beside, self.inside)

    def keep(self) -> None:
        """Put those of the run folder beside the results."""
        if self.inside.exists():
            self.beside.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.inside, self.beside)


def write_results(out: Path, name: str, found: dict[str, Any], figure: Path) -> None:
    """Put one set's result beside those of the others, with the circumstances, and its figure."""
    before = read_json(out)["results"] if out.exists() else {}
    write_json(out, {"results": {**before, name: {**circumstances(), **found}}})
    shutil.copy(figure, out.with_name(f"{out.stem}_{name}.png"))
