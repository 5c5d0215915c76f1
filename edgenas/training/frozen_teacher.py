"""Frozen teachers: the largest network of a supernet as it was at one step, kept in a file beside the checkpoint."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError

from edgenas.errors import RunFolderError
from edgenas.files import write_bytes
from edgenas.supernet.subnet import Subnet
from edgenas.supernet.supernet import SuperNet
from edgenas.supernet.sync_norm import synchronise_norms
from edgenas.training.checkpoint import plain
from edgenas.training.recipe import Teacher

TEACHER = "teacher.safetensors"
"""File of the frozen teacher, beside the checkpoint."""


def frozen_teacher(net: SuperNet, kind: Teacher) -> Subnet:
    """Return a copy of the largest network as it is now, without gradients; see `Phase.teacher` for the kinds."""
    teacher = net.extract(net.space.largest).requires_grad_(False)
    if kind == "tuned":
        # Only the largest network was trained, so the running statistics are its own.
        return teacher.eval()
    # Batch norm uses the statistics of each batch, as in training: the running ones fit no subnet.
    synchronise_norms(teacher.train())
    return teacher


def save_teacher(folder: Path, teacher: Subnet) -> None:
    """Write the weights and statistics of a teacher, atomically."""
    write_bytes(folder / TEACHER, safetensors.torch.save(plain(teacher.state_dict())))


def load_teacher(folder: Path, teacher: Subnet) -> None:
    """Load the weights and statistics that `save_teacher` wrote into a network of the same architecture.

    Raises:
        RunFolderError: the file is missing, broken or of another network.
    """
    try:
        teacher.load_state_dict(safetensors.torch.load_file(folder / TEACHER))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise RunFolderError(
            f"{folder / TEACHER} is missing or broken ({error}): delete {folder} to train from scratch"
        ) from None
