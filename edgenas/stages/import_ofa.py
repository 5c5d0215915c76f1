"""A run on the weights of a public supernet. Nothing is trained; the search can begin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from edgenas.config.reading import build_config
from edgenas.config.run_config import RunConfig
from edgenas.files import prove_writable
from edgenas.progress import Progress
from edgenas.runs.lock import LOCK
from edgenas.runs.run import Run
from edgenas.stages.start import start_run
from edgenas.stages.whole_run import run_stages
from edgenas.supernet.ofa import import_ofa_checkpoint
from edgenas.supernet.pixels import IMAGENET
from edgenas.training.data.dataset import set_size

VALIDATION_IMAGES, CALIBRATION_IMAGES = 2000, 2048
"""Scoring on all of ImageNet takes long; so many images estimate top-1 to within a point or so."""
TIMED_BLOCKS = 400
PRESIZE = 256
"""Theirs: 224 / 0.875."""


def ofa_config(checkpoint: Path, space: str, images: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Return the config of a run on a public once-for-all checkpoint.

    Args:
        checkpoint: the file.
        space: `ofa-mbv3-w1.0` or `ofa-mbv3-w1.2`.
        images: class folders, sorted as the checkpoint's classes are.
        overrides: `key.key=value`, as everywhere.

    Raises:
        ConfigError, SpaceError: an override or the space is wrong.
    """
    pixels = asdict(IMAGENET)
    value = {
        "name": space,
        "space": space,
        "data": {"name": "imagefolder", "path": str(images.absolute()), "presize": PRESIZE, **pixels},
        "train": {"init": str(checkpoint.absolute()), "epochs": 0, "kernel_transforms": True},
        # All resolutions' blocks are thousands; what is not timed is regressed.
        "profile": {"blocks": TIMED_BLOCKS},
        "search": {"calibration_images": CALIBRATION_IMAGES, "validation_images": VALIDATION_IMAGES},
    }
    return build_config(value, "import ofa", overrides)


def import_ofa(config: RunConfig, folder: Path, progress: Progress) -> Run:
    """Begin a run and fill its supernet from the checkpoint that `train.init` names.

    Raises:
        WeightsError: the checkpoint is broken, does not fit the space, or has another number of classes.
        UserError: the run cannot be started, see `start_run`.
    """
    init = config.training.init_path
    assert init is not None
    # Before anything is written, and before the images are looked at.
    prove_writable(folder / LOCK)
    classes = set_size(config.images, config.seed).num_classes
    import_ofa_checkpoint(init, config.load_space().with_classes(classes))
    run = start_run(config, folder, progress)
    run_stages(run, progress, ("train",))
    return run
