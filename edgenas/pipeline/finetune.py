"""Fine-tuning of the chosen subnet, before it is exported, where the config asks for it."""

from __future__ import annotations

import time
from typing import Any

import safetensors.torch
from safetensors import SafetensorError

from edgenas.errors import RunFolderError
from edgenas.files import read_json, write_bytes, write_json
from edgenas.pipeline.data import calibration_pictures, run_dataset, scoring_split
from edgenas.pipeline.run import Progress, Run
from edgenas.pipeline.train import trained_supernet
from edgenas.space.arch import Arch
from edgenas.supernet.subnet import Subnet
from edgenas.training.data import Dataset
from edgenas.training.evaluate import materialise, top1
from edgenas.training.finetuning import finetune

WEIGHTS, RESULT = "finetune/subnet.safetensors", "finetune/result.json"


def run_finetune(run: Run, progress: Progress) -> None:
    """Teach the chosen subnet on its own, the largest as its teacher; kept if validation top-1 rises."""
    arch = run.space.parse(run.result("verify")["chosen"])
    if run.config.finetune.epochs == 0 or finetuning_of(run, arch) is not None:
        return
    dataset, started = run_dataset(run), time.perf_counter()
    net, calibration, pictures = (
        trained_supernet(run, dataset),
        calibration_pictures(run, dataset),
        scoring_split(run, dataset),
    )
    before = materialise(net, arch, calibration)
    after = finetune(
        before,
        dataset.train,
        run.config.training,
        epochs=run.config.finetune.epochs,
        learning_rate_share=run.config.finetune.learning_rate_share,
        calibration=calibration,
        seed=run.config.seed,
        progress=lambda done, total: progress("fine-tuning", done, total),
        teacher=materialise(net, run.space.largest, calibration),
    )
    scores = {"val_top1_before": top1(before, pictures), "val_top1_after": top1(after, pictures)}
    write_bytes(run.folder / WEIGHTS, safetensors.torch.save(_plain(after)))
    result = _key(run, arch) | scores | {"calibration_images": len(calibration)}
    write_json(run.folder / RESULT, result | {"seconds": time.perf_counter() - started})


def is_finetuned(run: Run, arch: Arch) -> bool:
    """Whether an arch has a fine-tuned form that is better than the one it inherited."""
    known = finetuning_of(run, arch)
    return known is not None and known["val_top1_after"] > known["val_top1_before"]


def finetuned_subnet(run: Run, dataset: Dataset, arch: Arch) -> Subnet | None:
    """The fine-tuned form of an arch, calibrated, on the CPU; None where there is none that is better.

    Raises:
        RunFolderError: its weights are missing or broken.
    """
    known = finetuning_of(run, arch)
    if known is None or not is_finetuned(run, arch):
        return None
    subnet = Subnet(run.space.unroll(arch, dataset.num_classes), arch, dataset.pixels)
    path = run.folder / WEIGHTS
    try:
        subnet.load_state_dict(safetensors.torch.load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise RunFolderError(
            f"{path} is missing or broken ({error}): delete {path.parent} and run `edgenas export {run.folder}`"
        ) from None
    subnet.calibration_images = known["calibration_images"]
    return subnet.eval()


def finetuning_of(run: Run, arch: Arch) -> dict[str, Any] | None:
    """What fine-tuning found and took, if it was of this arch, these weights and settings."""
    path = run.folder / RESULT
    if run.config.finetune.epochs == 0 or not path.exists():
        return None
    known, key = read_json(path, f"run `edgenas export {run.folder}`"), _key(run, arch)
    return known if {name: known.get(name) for name in key} == key else None


def _key(run: Run, arch: Arch) -> dict[str, Any]:
    weights = run.result("train").get("weights")
    return {"arch": arch.id, "weights": weights, **run.config.finetune.model_dump()}


def _plain(subnet: Subnet) -> dict[str, Any]:
    return {name: tensor.cpu().contiguous() for name, tensor in subnet.state_dict().items()}
