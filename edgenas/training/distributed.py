"""Data-parallel training in several processes started by `torchrun`; each computes its share of every batch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor, nn

from edgenas.errors import ConfigError, EdgenasError, first_line


@dataclass(frozen=True)
class Processes:
    """The rank of this process, and how many processes there are."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Return whether this is the process that writes files."""
        return self.rank == 0

    def share(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return this process's share of a batch: every `count`-th image."""
        return indices[self.rank :: self.count]

    def average_gradients(self, net: nn.Module) -> None:
        """Replace gradients by their average over all processes, in one exchange."""
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in net.parameters() if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        flat = self.mean(flat)
        for gradient, part in zip(
            gradients, torch.split(flat, [gradient.numel() for gradient in gradients]), strict=True
        ):
            gradient.copy_(part.view_as(gradient))

    def mean(self, tensor: Tensor) -> Tensor:
        """Return the average of a tensor over all processes."""
        if self.count == 1:
            return tensor
        dist.all_reduce(tensor)
        return tensor / self.count

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set in any of the processes."""
        return flag if self.count == 1 else bool(self.mean(torch.tensor(float(flag), device=_exchange_device())) > 0)

    def wait(self) -> None:
        """Wait until all processes have called this."""
        if self.count > 1:
            dist.barrier()

    def check_batch(self, batch_size: int) -> None:
        """Refuse a batch that cannot be shared evenly, since averages over processes must be averages over images.

        Raises:
            ConfigError: the batch cannot be shared evenly.
        """
        if batch_size % self.count or batch_size < 2 * self.count:
            raise ConfigError(
                f"train.batch_size is {batch_size}, for {self.count} processes: expected a multiple of {self.count} "
                "that gives each at least two images"
            )


SINGLE_PROCESS = Processes()


def _exchange_device() -> torch.device:
    """Return the device on which tensors must lie to be exchanged."""
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")


def requested_processes() -> int:
    """Return how many processes `torchrun` started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def join_process_group(device: torch.device) -> Iterator[Processes]:
    """Join the other processes that `torchrun` started, with NCCL on CUDA and gloo on the CPU.

    Raises:
        EdgenasError: another process has ended.
    """
    if requested_processes() == 1:
        yield SINGLE_PROCESS
        return
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        yield Processes(dist.get_rank(), dist.get_world_size())
    except (dist.DistError, RuntimeError) as error:
        if not _is_group_error(error):
            raise
        raise EdgenasError(
            f"another process of the group has ended or cannot be reached ({first_line(error)}): see its messages "
            "above; the last checkpoint is kept, and the same command resumes from it"
        ) from None
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _is_group_error(error: Exception) -> bool:
    words = ("gloo", "nccl", "connection closed", "connection reset", "connection refused", "timed out", "tcpstore")
    return isinstance(error, dist.DistError) or any(word in str(error).lower() for word in words)
