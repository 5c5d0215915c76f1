"""Stage finetune: the chosen subnet is taught on its own before it is exported, or taught other pictures."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from edgenas.errors import RunFolderError
from edgenas.files import write_bytes
from edgenas.pipeline.data import calibration_pictures, run_dataset, scoring_split
from edgenas.pipeline.lone import setting_id, supernet_epochs
from edgenas.pipeline.run import Progress, Run
from edgenas.pipeline.subnets import run_subnets
from edgenas.space.arch import Arch
from edgenas.supernet.subnet import Subnet
from edgenas.training import checkpoint
from edgenas.training.data import Dataset, load_dataset
from edgenas.training.evaluate import top1
from edgenas.training.finetuning import finetune, with_classes

WEIGHTS = "finetune/subnet.safetensors"
TEACHING = "finetune/teaching"
"""Of checkpoints, until it is done."""
ANOTHER_SEED = 500
"""Beyond the run's: pictures come in another order, and are augmented otherwise, than the supernet saw them."""
TOLD = (
    "dataset",
    "training_images",
    "epochs",
    "start",
    "teacher",
    "learning_rate_share",
    "supernet",
    "val_top1_before",
    "val_top1_after",
    "seconds",
)
"""Of the result, what a bundle and a report state; runs of older versions know but half of it."""


def run_finetune(run: Run, progress: Progress) -> None:
    """Teach the chosen subnet on its own: the run's pictures, or those of `finetune.data`.

    On the run's pictures it is kept if validation top-1 rises. On others it has a new classifier.
    Stopped or killed, it goes on from its last checkpoint.

    Raises:
        ConfigError: the config asks for no fine-tuning, or the run has no weights.
        RunFolderError: a checkpoint is broken.
        DataError: see `load_dataset`.
        EdgenasError: the loss is no finite number; the step is named.
    """
    run.needs("finetune")
    if run.done("finetune"):
        return
    arch, settings = run.space.parse(run.result("verify")["chosen"]), run.config.finetune
    own = run_dataset(run)
    subnets, dataset = run_subnets(run, own), tuned_dataset(run, own)
    epochs = supernet_epochs(run, own) if settings.epochs is None else settings.epochs
    digest = dataset.digest()
    inherited = subnets(arch)
    student = inherited if dataset is own else with_classes(inherited, dataset.num_classes)
    tuned, seconds = finetune(
        student,
        dataset.train,
        run.config.training,
        epochs=epochs,
        learning_rate_share=settings.learning_rate_share,
        calibration=calibration_pictures(run, dataset),
        seed=run.config.seed + ANOTHER_SEED,
        progress=lambda done, total: progress("fine-tuning", done, total),
        teacher=subnets(run.space.largest) if settings.teacher == "largest" else None,
        fresh=settings.start == "fresh",
        folder=_checkpoints(run, arch, digest),
    )
    pictures = scoring_split(run, dataset)
    result = {
        "arch": arch.id,
        "dataset": dataset.name,
        "data_digest": digest,
        "training_images": len(dataset.train),
        "epochs": epochs,
        "teacher": settings.teacher,
        "start": settings.start,
        "learning_rate_share": settings.learning_rate_share,
        "supernet": {"dataset": own.name, "weights": _weights(run)},
        "val_top1_before": top1(inherited, pictures) if dataset is own else None,
        "val_top1_after": top1(tuned, pictures),
        "calibration_images": tuned.calibration_images,
        "seconds": seconds,
        "threads": torch.get_num_threads(),
    }
    write_bytes(run.folder / WEIGHTS, safetensors.torch.save(checkpoint.plain(tuned.state_dict())))
    run.finish("finetune", result)
    shutil.rmtree(run.folder / TEACHING, ignore_errors=True)


def _checkpoints(run: Run, arch: Arch, pictures: str) -> Path:
    """A folder for all that the weights depend on: what another setting left half done is not gone on with."""
    said = {"arch": arch.id, "weights": _weights(run), "pictures": pictures}
    return run.folder / TEACHING / setting_id({**said, "settings": run.config.finetune.model_dump(mode="json")})


def _weights(run: Run) -> str:
    """Digest of those that are inherited."""
    return checkpoint.digest(run.result_path("train").parent)


def tuned_dataset(run: Run, own: Dataset) -> Dataset:
    """What the chosen subnet is fine-tuned on; its inputs mean what they mean on the run's own pictures."""
    settings = run.config.finetune
    if settings.data is None:
        return own
    other = load_dataset(settings.data, run.config.seed, resolution=run.space.resolution[-1])
    return dataclasses.replace(other, pixels=own.pixels)


@dataclasses.dataclass(frozen=True)
class Tuned:
    """A fine-tuned subnet, calibrated, on the CPU; its pictures, and what a manifest says of its teaching."""

    subnet: Subnet
    dataset: Dataset
    told: Mapping[str, Any]


def tuned_subnet(run: Run, own: Dataset, arch: Arch) -> Tuned | None:
    """The fine-tuned form of an arch; None where there is none that is to be exported.

    Raises:
        RunFolderError: fine-tuning was asked for and is not done, its pictures changed since, or its weights are
            missing or broken.
    """
    if run.lacks("finetune") is not None or arch.id != run.result("verify")["chosen"]:
        return None
    known = run.result("finetune")
    if not is_better(known):
        return None
    dataset = tuned_dataset(run, own)
    if dataset.digest() != known["data_digest"]:
        raise RunFolderError(
            f"{run.folder}: the pictures of {dataset.name} changed since it was fine-tuned: delete "
            f"{run.result_path('finetune')} and run `edgenas finetune {run.folder}`"
        )
    subnet = Subnet(run.space.unroll(arch, dataset.num_classes), arch, dataset.pixels)
    path = run.folder / WEIGHTS
    try:
        subnet.load_state_dict(safetensors.torch.load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise RunFolderError(
            f"{path} is missing or broken ({error}): delete {path.parent} and run `edgenas finetune {run.folder}`"
        ) from None
    subnet.calibration_images = known["calibration_images"]
    return Tuned(subnet.eval(), dataset, {key: known.get(key) for key in TOLD})


def is_better(result: dict[str, Any]) -> bool:
    """Whether the fine-tuned subnet is to be exported: taught other pictures, or better on the run's own."""
    before = result["val_top1_before"]
    return before is None or result["val_top1_after"] > before
