"""Stage finetune: the chosen subnet is trained on its own before it is exported, perhaps on other images."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError

from edgenas.accuracy.subnets import Subnets
from edgenas.errors import RunFolderError
from edgenas.files import write_bytes
from edgenas.progress import Progress
from edgenas.records.finetune import FinetuneRecord, SupernetSource
from edgenas.runs.images import RunImages
from edgenas.runs.run import Run
from edgenas.space.arch import Arch
from edgenas.stages.scoring import run_subnets
from edgenas.stages.standalone_networks import setting_id, supernet_epochs
from edgenas.supernet.subnet import Subnet
from edgenas.training import checkpoint
from edgenas.training.data.dataset import load_dataset
from edgenas.training.finetuning import finetune, with_classes
from edgenas.training.materialise import top1

NETWORKS = "finetune/networks"
"""A folder for each fine-tuned network, named by the digest of everything that its weights depend on."""
WEIGHTS, RESULT, CHECKPOINTS = "subnet.safetensors", "result.json", "checkpoints"
ANOTHER_SEED = 500
"""Beyond the run's: images come in another order, and are augmented otherwise, than the supernet saw them."""


def run_finetune(run: Run, progress: Progress) -> None:
    """Fine-tune the chosen subnet, see `finetuned`.

    Raises:
        ConfigError: the config asks for no fine-tuning, or the run has no weights.
        RunFolderError, DataError, EdgenasError: see `finetuned`.
    """
    run.needs("finetune")
    if not run.done("finetune"):
        run.finish(finetuned(run, run.chosen, progress))


def finetuned(run: Run, arch: Arch, progress: Progress) -> FinetuneRecord:
    """Train one subnet on its own, on the run's images or on those of `finetune.data`, and return the result.

    On the run's images it ships if validation top-1 rises. On others it has a new classifier. A network that was
    fine-tuned before in the same way is not trained again; one that was stopped or killed resumes from its last
    checkpoint.

    Raises:
        RunFolderError: a checkpoint is broken.
        DataError: see `load_dataset`.
        EdgenasError: the loss is not a finite number; the step is named.
    """
    images = tuned_images(run)
    folder = _folder(run, arch, images.digest)
    if (earlier := _earlier(run, folder)) is not None:
        return earlier
    subnets = run_subnets(run)
    before = top1(subnets(arch), images.scoring) if images is run.images else None
    tuned, seconds = _train(run, arch, images, subnets, folder / CHECKPOINTS, progress)
    record = _record(run, images, tuned, before, seconds)
    write_bytes(folder / WEIGHTS, safetensors.torch.save(checkpoint.plain(tuned.state_dict())))
    record.write(folder / RESULT)
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    return record


def _train(
    run: Run, arch: Arch, images: RunImages, subnets: Subnets, checkpoints: Path, progress: Progress
) -> tuple[Subnet, float]:
    """Return the fine-tuned subnet and the seconds that training took."""
    settings, inherited = run.config.finetune, subnets(arch)
    return finetune(
        inherited if images is run.images else with_classes(inherited, images.dataset.num_classes),
        images.dataset.train,
        run.config.training,
        epochs=_epochs(run),
        learning_rate_share=settings.learning_rate_share,
        calibration=images.calibration,
        seed=run.config.seed + ANOTHER_SEED,
        progress=lambda done, total: progress("fine-tuning", done, total),
        teacher=subnets(run.space.largest) if settings.teacher == "largest" else None,
        fresh=settings.start == "fresh",
        folder=checkpoints,
    )


def _epochs(run: Run) -> float:
    epochs = run.config.finetune.epochs
    return supernet_epochs(run) if epochs is None else epochs


def _record(run: Run, images: RunImages, tuned: Subnet, before: float | None, seconds: float) -> FinetuneRecord:
    assert tuned.arch is not None
    assert tuned.calibration_images is not None
    settings = run.config.finetune
    return FinetuneRecord(
        arch=tuned.arch,
        dataset=images.dataset.name,
        data_digest=images.digest,
        training_images=len(images.dataset.train),
        epochs=_epochs(run),
        start=settings.start,
        teacher=settings.teacher,
        learning_rate_share=settings.learning_rate_share,
        supernet=SupernetSource(dataset=run.images.dataset.name, weights=_weights(run)),
        val_top1_before=before,
        val_top1_after=top1(tuned, images.scoring),
        calibration_images=tuned.calibration_images,
        seconds=seconds,
        threads=torch.get_num_threads(),
    )


def _folder(run: Run, arch: Arch, images: str) -> Path:
    """Return the folder of a fine-tuned network, keyed by every setting that its weights depend on."""
    key = {"arch": arch.id, "weights": _weights(run), "images": images}
    return run.folder / NETWORKS / setting_id({**key, "settings": run.config.finetune.model_dump(mode="json")})


def _earlier(run: Run, folder: Path) -> FinetuneRecord | None:
    """Return the result of a network that was fine-tuned before; None where there is none or its weights are gone."""
    if not ((folder / RESULT).exists() and (folder / WEIGHTS).exists()):
        return None
    return FinetuneRecord.read(folder / RESULT, f"delete {folder}", run.space)


def _weights(run: Run) -> str:
    """Return the digest of the supernet's weights, which the network inherits."""
    return checkpoint.digest(run.result_path("train").parent)


def tuned_images(run: Run) -> RunImages:
    """Return the images for fine-tuning; their pixels are scaled like those of the run's own images."""
    data = run.config.finetune.data
    if data is None:
        return run.images
    other = load_dataset(data, run.config.seed, resolution=run.space.resolution[-1])
    dataset = dataclasses.replace(other, pixels=run.images.dataset.pixels)
    return RunImages(dataset, dataset.digest(), run.config.search)


@dataclasses.dataclass(frozen=True)
class Tuned:
    """A fine-tuned subnet, calibrated, on the CPU; its images, and the record of its training."""

    subnet: Subnet
    images: RunImages
    record: FinetuneRecord


def tuned_subnet(run: Run, arch: Arch) -> Tuned | None:
    """Return the fine-tuned form of an architecture; None where there is none that ships.

    Raises:
        RunFolderError: fine-tuning was asked for and is not done, its images changed since, or its weights are
            missing or broken.
    """
    if run.lacks("finetune") is not None:
        return None
    stage = run.result(FinetuneRecord)
    images = tuned_images(run)
    dataset = images.dataset
    if images.digest != stage.data_digest:
        raise RunFolderError(
            f"{run.folder}: the images of {dataset.name} changed since the network was fine-tuned: delete "
            f"{run.result_path('finetune')} and run `edgenas finetune {run.folder}`"
        )
    folder = _folder(run, arch, images.digest)
    record = stage if arch == stage.arch else _earlier(run, folder)
    if record is None or not record.improves:
        return None
    subnet = Subnet(run.space.with_classes(images.dataset.num_classes).unroll(arch), arch, dataset.pixels)
    path = folder / WEIGHTS
    try:
        subnet.load_state_dict(safetensors.torch.load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise RunFolderError(
            f"{path} is missing or broken ({error}): delete {run.folder / 'finetune'} and run `edgenas finetune "
            f"{run.folder}`"
        ) from None
    subnet.calibration_images = record.calibration_images
    return Tuned(subnet.eval(), images, record)
