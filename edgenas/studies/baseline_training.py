"""A run's network and its rivals of the same measured latency, which are given the same time: sized, and trained."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from edgenas.deploy.onnx.exporter import export_onnx
from edgenas.errors import ConfigError
from edgenas.files import append_jsonl, read_jsonl
from edgenas.runs.folder import Progress, Run, open_run
from edgenas.runs.run_data import run_classes, run_dataset, scoring_split
from edgenas.runs.stage_costs import spent_on_results
from edgenas.space.arch import Arch
from edgenas.stages.finetune import is_better
from edgenas.stages.profile import run_variant
from edgenas.stages.standalone_networks import Lone, setting_id, supernet_epochs
from edgenas.studies.baseline_networks import Scale, Timer, at_scale
from edgenas.studies.baseline_sizes import MOBILENET, RANDOM, Entry, Settled, Sizer, Wanted
from edgenas.studies.worker_pool import train_each
from edgenas.training.data.dataset import Dataset
from edgenas.training.fixed_settings import FixedSettings
from edgenas.training.materialise import top1

FOLDER = "worth"
ROWS, SETTLED = "rows.jsonl", "settled.json"
LOGGER = logging.getLogger(__name__)
_Place = tuple[str, int, int]
"""Of a network within a comparison: rival, seed, number."""
VERSION = 6
"""Of how rivals are sized."""
NETWORKS_A_SEED = 1000
"""More than a random search has: how far apart the seeds of its networks' weights are."""


@dataclass(frozen=True)
class Worth:
    """What is compared.

    Attributes:
        seeds: of each rival, from the run's seed on.
        minutes: of each rival and seed, at the clock that the run had; None: the whole time that edgenas took.
    """

    seeds: int = 3
    minutes: float | None = None

    def check(self) -> None:
        """Refuse what cannot be compared.

        Raises:
            ConfigError: a number is out of range.
        """
        if self.seeds < 1:
            raise ConfigError(f"--seeds: wanted at least 1, got {self.seeds}")
        if self.minutes is not None and not 0 < self.minutes <= 100_000:
            raise ConfigError(f"--minutes: wanted a number above 0, got {self.minutes:g}")


@dataclass(frozen=True)
class Contest:
    """A run's network and its rivals: all that it takes to size and train them.

    Attributes:
        run: exported.
        worth: what is compared.
        dataset: the run's.
        lone: how networks are trained from scratch.
        arch: of the run's network.
        classes: that networks tell.
        spent: seconds that edgenas took, by what.
        seconds: that each rival and seed has.
        seeds: of the rivals.
        epochs: that the run's network had, in the supernet and alone.
        setting: digest of all that rows depend on.
    """

    run: Run
    worth: Worth
    dataset: Dataset
    lone: Lone
    arch: Arch
    classes: int
    spent: dict[str, float]
    seconds: float
    seeds: list[int]
    epochs: float
    setting: str

    @classmethod
    def of(cls, run: Run, worth: Worth) -> Contest:
        """That of an exported run.

        Raises:
            ConfigError, RunFolderError: see `run_worth`.
        """
        worth.check()
        if run.config.accuracy is not None:
            raise ConfigError(f"{run.folder}: nothing was trained here that a rival could be given as much time as")
        if run.lacks("finetune") is None and run.config.finetune.data is not None:
            raise ConfigError(f"{run.folder}: its network was trained on other images (finetune.data) than rivals are")
        run.needs("export")
        arch, dataset = run.space.parse(run.result("export")["chosen"]["arch"]), run_dataset(run)
        lone, times = Lone.of(run, dataset), _spent(run)
        seconds = sum(times.values()) if worth.minutes is None else 60 * worth.minutes
        threads = _threads(run, worth)
        seeds = list(range(run.config.seed, run.config.seed + worth.seeds))
        epochs = supernet_epochs(run, dataset)
        if not epochs:
            raise ConfigError(f"{run.folder}: nothing was trained here that a rival could be given as much time as")
        epochs += tuned(run)["epochs"]
        said = {"version": VERSION, "lone": lone.setting, "chosen": arch.id, "seconds": seconds, "epochs": epochs}
        said["threads"] = threads
        return cls(run, worth, dataset, lone, arch, run_classes(run), times, seconds, seeds, epochs, setting_id(said))

    @property
    def folder(self) -> Path:
        """Where all of it is kept."""
        return self.run.folder / FOLDER

    def settled(self, timer: Timer, progress: Progress) -> Settled:
        """The rivals' sizes, decided once; those of seeds that come later beside them."""
        path, known = self.folder / SETTLED, self.known()
        if known is None and path.exists():
            LOGGER.warning("note: %s is of another comparison, or older: rivals are sized and trained anew", path)
        unsized = self.unsized(known)
        if unsized or known is None:
            wanted = Wanted(self.arch, self.classes, self.seconds, unsized, self.epochs, self.step_seconds)
            known = Sizer(self.run, self.lone, wanted, timer, progress).settle(path, self.setting, known)
        return known.of(self.seeds)

    @property
    def step_seconds(self) -> float | None:
        """Of a step of the chosen network's fine-tuning, on average; None where that is not how rivals are trained.

        It tells the clock that the run's time was taken at. A processor may run a third faster when rivals are sized:
        counted by seconds alone, they would have a third more steps.
        """
        if self.run.lacks("finetune") is not None or self.run.config.finetune.teacher != "none":
            return None
        found = self.run.result("finetune")
        if found.get("threads") not in (None, torch.get_num_threads()):
            return None
        return float(found["seconds"]) / self.lone.steps(_tuned_epochs(self.run))

    def known(self) -> Settled | None:
        """What was decided before, of these seeds and others."""
        return Settled.read(self.folder / SETTLED, self.setting)

    def unsized(self, known: Settled | None) -> list[int]:
        """Seeds of which no rival has its size yet."""
        return [seed for seed in self.seeds if known is None or str(seed) not in known.archs]

    def share_left(self, known: Settled | None) -> float:
        """How many times the seconds of a rival and seed are still to be spent."""
        rows, unsized = self.rows(), self.unsized(known)
        left = 2.0 * len(unsized)
        for seed in self.seeds:
            if known is None or seed in unsized:
                continue
            for rival in (MOBILENET, RANDOM):
                own = [entry for entry in known.entries(self.run.space, seed) if entry.rival == rival]
                left += sum(not self.trained(entry, rows) for entry in own) / max(1, len(own))
        return left

    def entries(self, settled: Settled) -> list[Entry]:
        """All rivals' networks, one seed after another."""
        return [entry for seed in self.seeds for entry in settled.entries(self.run.space, seed)]

    def trained(self, entry: Entry, rows: Mapping[_Place, Mapping[str, Any]]) -> bool:
        """Whether a network has its row, and its file beside; not where rivals were sized anew since."""
        row = rows.get(entry.place, {})
        return (row.get("network"), row.get("steps")) == (entry.network, entry.steps) and self.model(entry).exists()

    def train_all(self, entries: Sequence[Entry], jobs: int, progress: Progress) -> None:
        """`train_network` each of them, `jobs` at a time."""
        rows = self.rows()
        left = [entry for entry in entries if not self.trained(entry, rows)]
        train_each(
            self.train_network, partial(_train_apart, self.run.folder.resolve(), self.worth), left, jobs, progress
        )

    def train_network(self, entry: Entry, progress: Progress) -> None:
        """Append what a network reaches; its file lies beside."""
        label = f"{entry.rival}, seed {entry.seed}, {entry.number + 1}"
        key = {"setting": self.setting, "rival": entry.rival, "seed": entry.seed, "number": entry.number}
        key |= {"network": entry.network, "steps": entry.steps}
        specs = (
            self.run.space.unroll(entry.arch, self.classes)
            if entry.arch
            else at_scale(self.run.space, self.classes, Scale.parse(entry.network))
        )
        with self.lone.trained(
            specs,
            entry.steps,
            NETWORKS_A_SEED * entry.seed + entry.number,
            self.folder / "training" / setting_id(key),
            lambda done, total: progress(label, done, total),
            entry.arch,
        ) as (subnet, seconds):
            calibrated = self.lone.calibrated(subnet)
            score = top1(calibrated, scoring_split(self.run, self.dataset))
            export_onnx(calibrated, self.model(entry), variant=run_variant(self.run))
            append_jsonl(self.folder / ROWS, {**key, "val_top1": score, "seconds": seconds})

    def model(self, entry: Entry) -> Path:
        """Where the file of a network lies."""
        return self.folder / "models" / f"{self.setting}-{entry.rival}-{entry.seed}-{entry.number:02d}.onnx"

    def rows(self) -> dict[_Place, dict[str, Any]]:
        """Of this comparison, each network once: an earlier row of one tells of a file that was lost."""
        rows = [row for row in read_jsonl(self.folder / ROWS) if row.get("setting") == self.setting]
        return {(row["rival"], row["seed"], row["number"]): row for row in rows}


def _threads(run: Run, worth: Worth) -> int | None:
    """Threads that networks are trained with on a CPU: those that the run's time was taken with.

    Raises:
        ConfigError: there are others now.
    """
    schedule, now = FixedSettings.load(run.result_path("train").parent), torch.get_num_threads()
    before = None if schedule is None else schedule.circumstances.get("threads")
    if schedule is None or schedule.circumstances.get("device") != "cpu":
        return None
    if worth.minutes is None and before not in (None, now):
        raise ConfigError(
            f"{run.folder}: edgenas took its time with {before} thread(s), and rivals would have {now}: "
            f"set OMP_NUM_THREADS={before}, or say how many --minutes they get"
        )
    return now


def _train_apart(folder: Path, worth: Worth, entry: Entry, progress: Progress) -> None:
    """What a process of its own does."""
    Contest.of(open_run(folder), worth).train_network(entry, progress)


def _spent(run: Run) -> dict[str, float]:
    """Seconds that rivals are given as well; profiling and measuring the front serve them, too.

    Wall time of a whole stage, where that is known and no less than what the stage counts of itself: steps and scores.
    """
    counted = {
        "train": float(run.result("train")["train_seconds"]),
        "search": float(run.result("search")["seconds"]),
        "finetune": float(run.result("finetune")["seconds"]) if run.lacks("finetune") is None else 0.0,
    }
    wall = spent_on_results(run.folder)
    # What is killed tells no wall time; and fine-tuning that was given up is no part of the network.
    return {
        name: max(counted[stage], wall.get(stage, 0.0)) if counted[stage] else 0.0
        for stage, name in (("train", "supernet"), ("search", "search"), ("finetune", "fine_tuning"))
    }


def tuned(run: Run) -> dict[str, Any]:
    """How the chosen network was trained on its own, as far as that was kept."""
    if run.lacks("finetune") is not None or not is_better(run.result("finetune")):
        return {"epochs": 0.0}
    epochs, settings = _tuned_epochs(run), run.config.finetune
    return {"epochs": epochs, "start": settings.start, "learning_rate_share": settings.learning_rate_share}


def _tuned_epochs(run: Run) -> float:
    # Results of older versions leave out what their configs always said.
    return float(run.result("finetune").get("epochs", run.config.finetune.epochs or 0.0))
