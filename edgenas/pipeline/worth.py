"""Was the search worth it: its network beside rivals of the same measured latency that were given the same time."""

from __future__ import annotations

import csv
import io
import logging
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgenas.deploy.onnx_export import export_onnx
from edgenas.errors import ConfigError
from edgenas.evidence.crossover import Costs
from edgenas.evidence.rivalry import Answers, Contender, summarise
from edgenas.files import append_jsonl, read_jsonl, write_bytes, write_json, write_text
from edgenas.pipeline.apart import check_jobs, teach_apart
from edgenas.pipeline.bundle_network import right_answers
from edgenas.pipeline.data import deployed_preprocess, run_classes, run_dataset, scoring_split
from edgenas.pipeline.lock import locked
from edgenas.pipeline.lone import Lone, setting_id, supernet_epochs
from edgenas.pipeline.metering import spent_on_results
from edgenas.pipeline.profile import run_form
from edgenas.pipeline.rivals import Timer, at_width, rival_device, session_timer
from edgenas.pipeline.run import Progress, Run, open_run
from edgenas.pipeline.sizing import MOBILENET, RANDOM, Entry, Settled, Sizer, Wanted, width_of
from edgenas.report.evidence_plots import plot_worth
from edgenas.report.evidence_values import Worth as WorthValues
from edgenas.space.arch import Arch
from edgenas.training.checkpoint import file_digest
from edgenas.training.data import Dataset
from edgenas.training.evaluate import top1
from edgenas.training.settled import Schedule

FOLDER = "worth"
ROWS, SETTLED, RESULT, TABLE, FIGURE = "rows.jsonl", "settled.json", "worth.json", "worth.csv", "worth.png"
LOGGER = logging.getLogger(__name__)
_Place = tuple[str, int, int]
"""Of a network within a comparison: rival, seed, number."""
VERSION = 4
"""Of how rivals are sized."""
NETWORKS_A_SEED = 1000
"""More than a random search has: how far apart the seeds of its networks' weights are."""


@dataclass(frozen=True)
class Worth:
    """What is compared.

    Attributes:
        seeds: of each rival, from the run's seed on.
        minutes: of each rival and seed; None: the whole time that edgenas took.
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


def run_worth(
    run: Run, worth: Worth, progress: Progress, *, timer: Timer | None = None, jobs: int = 1
) -> dict[str, Any]:
    """Compare a finished run's network with its rivals; what its folder holds of this very comparison is kept.

    MobileNetV3-Small is as wide as the latency allows, and taught for the whole time. Random search draws networks of
    the run's space that are as fast and teaches as many as the time holds, each for at least as many epochs as the
    chosen network had, in the supernet and in fine-tuning together; validation chooses. A seed for which no other
    network of the space is as fast has no random search. Test pictures are looked at for the networks that are left,
    when all are taught.

    Args:
        run: exported.
        worth: what is compared.
        progress: called with what is being done, steps done and in all.
        timer: instead of the run's own device.
        jobs: networks that are taught at a time, a process each. Steps are fixed before, when nothing else runs: what
            they take longer beside each other is given to the rivals.

    Returns:
        What `worth/worth.json` holds: rates are fractions.

    Raises:
        ConfigError: see `Worth.check` and `check_jobs`; or the run has no supernet of its own, no device that fits, or
            took its time with another number of threads.
        RunFolderError: a stage is missing, or another process holds the folder.
    """
    check_jobs(jobs)
    match = _Match.of(run, worth)
    with locked(run.folder):
        timer = timer or session_timer(run, rival_device(run), match.folder, progress)
        settled = match.settled(timer, progress)
        match.teach_all([entry for seed in match.seeds for entry in settled.entries(run.space, seed)], jobs, progress)
        found = match.summary(settled, timer)
        write_json(match.folder / RESULT, found)
        write_text(match.folder / TABLE, _table(found))
        write_bytes(match.folder / FIGURE, plot_worth(WorthValues.model_validate(found)))
    return found


def worth_told(run: Run, worth: Worth, jobs: int = 1) -> tuple[list[str], float]:
    """What `run_worth` has yet to do and about how long it takes, in lines; and the seconds, by the clock.

    Raises:
        ConfigError: see `run_worth`.
    """
    check_jobs(jobs)
    match = _Match.of(run, worth)
    known = match.known()
    seconds = match.seconds * match.share_left(known) / jobs
    said = ", ".join(f"{name.replace('_', '-')} {took / 60:.1f}" for name, took in match.spent.items())
    return [
        f"{MOBILENET} and {RANDOM}, {worth.seeds} seeds each, as fast as {match.arch.id} on {rival_device(run).name}",
        f"each has {match.seconds / 60:.1f} minutes a seed; edgenas took (minutes): {said}",
        *([known.told()] if known else []),
        f"about {seconds / 60:.1f} minutes in all, beside timing and scoring; stopped at any moment, the same command "
        "goes on",
    ], seconds


@dataclass(frozen=True)
class _Match:
    """All that it takes to teach and judge the rivals of a run."""

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
    def of(cls, run: Run, worth: Worth) -> _Match:
        worth.check()
        if run.config.accuracy is not None:
            raise ConfigError(f"{run.folder}: nothing was trained here that a rival could be given as much time as")
        if run.lacks("finetune") is None and run.config.finetune.data is not None:
            raise ConfigError(f"{run.folder}: its network was taught other pictures (finetune.data) than rivals are")
        run.needs("export")
        arch, dataset = run.space.parse(run.result("export")["chosen"]["arch"]), run_dataset(run)
        lone, times = Lone.of(run, dataset), _spent(run)
        seconds = sum(times.values()) if worth.minutes is None else 60 * worth.minutes
        threads = _threads(run, worth)
        seeds = list(range(run.config.seed, run.config.seed + worth.seeds))
        epochs = supernet_epochs(run, dataset)
        if not epochs:
            raise ConfigError(f"{run.folder}: nothing was trained here that a rival could be given as much time as")
        epochs += run.config.finetune.epochs
        said = {"version": VERSION, "lone": lone.setting, "chosen": arch.id, "seconds": seconds, "epochs": epochs}
        said["threads"] = threads
        return cls(run, worth, dataset, lone, arch, run_classes(run), times, seconds, seeds, epochs, setting_id(said))

    @property
    def folder(self) -> Path:
        return self.run.folder / FOLDER

    def settled(self, timer: Timer, progress: Progress) -> Settled:
        """The rivals' sizes, decided once; those of seeds that come later beside them."""
        path, known = self.folder / SETTLED, self.known()
        if known is None and path.exists():
            LOGGER.warning("note: %s is of another comparison, or older: rivals are sized and taught anew", path)
        unsized = self.unsized(known)
        if unsized or known is None:
            wanted = Wanted(self.arch, self.classes, self.seconds, unsized, self.epochs)
            known = Sizer(self.run, self.lone, wanted, timer, progress).settle(path, self.setting, known)
        return known.of(self.seeds)

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
                left += sum(not self.taught(entry, rows) for entry in own) / max(1, len(own))
        return left

    def taught(self, entry: Entry, rows: Mapping[_Place, Mapping[str, Any]]) -> bool:
        """Whether a network has its row, and its file beside; not where rivals were sized anew since."""
        row = rows.get(entry.place, {})
        return (row.get("network"), row.get("steps")) == (entry.network, entry.steps) and self.model(entry).exists()

    def teach_all(self, entries: Sequence[Entry], jobs: int, progress: Progress) -> None:
        """`teach` each of them, `jobs` at a time."""
        rows = self.rows()
        left = [entry for entry in entries if not self.taught(entry, rows)]
        if jobs > 1:
            teach_apart(partial(_teach_apart, self.run.folder.resolve(), self.worth), left, jobs, progress)
            return
        for entry in left:
            self.teach(entry, progress)

    def teach(self, entry: Entry, progress: Progress) -> None:
        """Append what a network reaches; its file lies beside."""
        label = f"{entry.rival}, seed {entry.seed}, {entry.number + 1}"
        key = {"setting": self.setting, "rival": entry.rival, "seed": entry.seed, "number": entry.number}
        key |= {"network": entry.network, "steps": entry.steps}
        specs = (
            self.run.space.unroll(entry.arch, self.classes)
            if entry.arch
            else at_width(self.run.space, self.classes, width_of(entry.network))
        )
        with self.lone.taught(
            specs,
            entry.steps,
            NETWORKS_A_SEED * entry.seed + entry.number,
            self.folder / "teaching" / setting_id(key),
            lambda done, total: progress(label, done, total),
            entry.arch,
        ) as (subnet, seconds):
            calibrated = self.lone.calibrated(subnet)
            score = top1(calibrated, scoring_split(self.run, self.dataset))
            export_onnx(calibrated, self.model(entry), form=run_form(self.run))
            append_jsonl(self.folder / ROWS, {**key, "val_top1": score, "seconds": seconds})

    def model(self, entry: Entry) -> Path:
        """Where the file of a network lies."""
        return self.folder / "models" / f"{self.setting}-{entry.rival}-{entry.seed}-{entry.number:02d}.onnx"

    def rows(self) -> dict[_Place, dict[str, Any]]:
        """Of this comparison, each network once: an earlier row of one tells of a file that was lost."""
        rows = [row for row in read_jsonl(self.folder / ROWS) if row.get("setting") == self.setting]
        return {(row["rival"], row["seed"], row["number"]): row for row in rows}

    def summary(self, settled: Settled, timer: Timer) -> dict[str, Any]:
        rows = self.rows()
        taught = {seed: settled.entries(self.run.space, seed) for seed in self.seeds}
        best = {
            (rival, seed): max((e for e in own if e.rival == rival), key=lambda e: float(rows[e.place]["val_top1"]))
            for seed, own in taught.items()
            for rival in dict.fromkeys(entry.rival for entry in own)
        }
        export = self.run.result("export")
        models = {f"{rival}-{seed}": self.model(entry) for (rival, seed), entry in best.items()}
        # All that are judged, side by side: what was measured to size them was of random weights.
        p50_us = timer({"edgenas": self.run.folder / _fp32_model(export), **models}, "judging")
        rivals: dict[str, list[Contender]] = {}
        answers: dict[str, list[Answers]] = {}
        for (rival, seed), entry in best.items():
            tried = [rows[e.place] for e in taught[seed] if e.rival == rival]
            # MobileNetV3-Small takes pictures of the size that the largest network does.
            right = self._right(self.model(entry), entry.arch or self.run.space.largest)
            answers.setdefault(rival, []).append(right)
            contender = self._contender(entry, tried, p50_us[f"{rival}-{seed}"], float(right.mean()))
            rivals.setdefault(rival, []).append(contender)
        drawn = [e.network for own in taught.values() for e in own if e.rival == RANDOM]
        # As timed when nothing else was taught, as the run was; what rows hold may be of several at a time.
        took = [settled.random_step_seconds[network] for network in drawn] or [settled.step_seconds]
        per_budget = self.spent["search"] + self.spent["fine_tuning"]
        alone = settled.epoch_steps * statistics.mean(took)
        bundled = self.run.folder / _fp32_model(export)
        own_right = self._right(bundled, self.arch)
        return {
            "dataset": self.lone.dataset,
            "model_sha256": file_digest(bundled),
            "supernet_from": self.lone.supernet_from,
            "recipe": self.lone.config.recipe,
            "finetune": self.run.config.finetune.model_dump(mode="json", include={"epochs", "learning_rate_share"}),
            "threads": torch.get_num_threads(),
            "space": self.run.space.name,
            "device": rival_device(self.run).name,
            "training_images": len(self.lone.train),
            "test_images": len(self.dataset.test),
            "seconds": {**self.spent, "total": sum(self.spent.values()), "each_rival": self.seconds},
            "steps": {
                rival: {str(e.seed): e.steps for own in taught.values() for e in own if e.rival == rival}
                for rival in rivals
            },
            "left_out": {RANDOM: settled.left_out} if settled.left_out else {},
            **summarise(
                self._own(export, p50_us["edgenas"]),
                rivals,
                own_right,
                {rival: np.array(own) for rival, own in answers.items()},
            ),
            "crossover": Costs(self.spent["supernet"], per_budget, alone).to_json(),
        }

    def _own(self, export: Mapping[str, Any], p50_us: float) -> Contender:
        tried, seconds = int(self.run.result("search")["evaluations"]), sum(self.spent.values())
        val_top1, test_top1 = _fp32_scores(export)
        return Contender(self.arch.id, self.run.config.seed, val_top1, test_top1, p50_us, seconds, tried)

    def _contender(
        self, entry: Entry, tried: Sequence[Mapping[str, Any]], p50_us: float, test_top1: float
    ) -> Contender:
        val_top1 = max(float(row["val_top1"]) for row in tried)
        seconds = sum(float(row["seconds"]) for row in tried)
        return Contender(entry.network, entry.seed, val_top1, test_top1, p50_us, seconds, len(tried))

    def _right(self, model: Path, arch: Arch) -> Answers:
        """Whether a file that takes pictures as an arch does gives each test picture its label, (n,)."""
        found: Answers = right_answers(model, self.dataset.test, deployed_preprocess(arch, self.dataset)).numpy()
        return found


def _threads(run: Run, worth: Worth) -> int | None:
    """Threads that networks are taught with on a CPU: those that the run's time was taken with.

    Raises:
        ConfigError: there are others now.
    """
    schedule, now = Schedule.read(run.result_path("train").parent), torch.get_num_threads()
    before = None if schedule is None else schedule.circumstances.get("threads")
    if schedule is None or schedule.circumstances.get("device") != "cpu":
        return None
    if worth.minutes is None and before not in (None, now):
        raise ConfigError(
            f"{run.folder}: edgenas took its time with {before} thread(s), and rivals would have {now}: "
            f"set OMP_NUM_THREADS={before}, or say how many --minutes they get"
        )
    return now


def _teach_apart(folder: Path, worth: Worth, entry: Entry, progress: Progress) -> None:
    """What a process of its own does."""
    _Match.of(open_run(folder), worth).teach(entry, progress)


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


def _fp32_model(export: Mapping[str, Any]) -> str:
    """The fp32 file of a finished export, within the run folder."""
    return f"{export['chosen']['bundle']}/model.onnx"


def _fp32_scores(export: Mapping[str, Any]) -> tuple[float, float]:
    """Validation and test top-1 of that file; the chosen network's are those of what is deployed, perhaps int8."""
    found, prefix = (export["int8"], "fp32_") if export.get("int8") else (export["chosen"], "")
    return float(found[f"{prefix}val_top1"]), float(found[f"{prefix}test_top1"])


def _table(found: Mapping[str, Any]) -> str:
    text = io.StringIO()
    rows = [{"who": "edgenas", **found["edgenas"]}]
    rows += [{"who": name, **seed} for name, rival in found["rivals"].items() for seed in rival["seeds"]]
    table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()
