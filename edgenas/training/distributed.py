"""Several processes that train one supernet together, started by `torchrun`: each has its share of every batch."""

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
    """Which of how many processes this is."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes files."""
        return self.rank == 0

    def share(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """This process's part of a batch: every count-th image."""
        return indices[self.rank :: self.count]

    def average_gradients(self, net: nn.Module) -> None:
        """Replace gradients by their average over all processes, in one exchange."""
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in net.parameters() if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        flat = self.mean(flat)
        for gradient, part in zip(gradients, torch.split(flat, [one.numel() for one in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def mean(self, tensor: Tensor) -> Tensor:
        """The average of a tensor over all processes."""
        if self.count == 1:
            return tensor
        dist.all_reduce(tensor)
        return tensor / self.count

    def any(self, here: bool) -> bool:
        """Whether something is so in any of the processes."""
        return here if self.count == 1 else bool(self.mean(torch.tensor(float(here), device=_exchange_device())) > 0)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            dist.barrier()

    def check_batch(self, batch_size: int) -> None:
        """Refuse a batch that cannot be shared evenly: averages over processes would not be averages over images.

        Raises:
            ConfigError: both numbers are told.
        """
        if batch_size % self.count or batch_size < 2 * self.count:
            raise ConfigError(
                f"train.batch_size is {batch_size}, for {self.count} processes: wanted a multiple of that, with at "
                "least two images each"
            )


ALONE = Processes()


def _exchange_device() -> torch.device:
    """Where tensors must lie to be exchanged."""
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")


def processes_asked_for() -> int:
    """How many processes `torchrun` started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def joined(device: torch.device) -> Iterator[Processes]:
    """Meet the other processes that `torchrun` started; NCCL on CUDA, gloo on the CPU.

    Raises:
        EdgenasError: another process has ended.
    """
    if processes_asked_for() == 1:
        yield ALONE
        return
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        yield Processes(dist.get_rank(), dist.get_world_size())
    except (dist.DistError, RuntimeError) as error:
        if not _is_of_the_group(error):
            raise
        raise EdgenasError(
            f"another process of the group has ended or is out of reach ({first_line(error)}): what it said stands "
            "above; the last checkpoint is kept, and the same command goes on from it"
        ) from None
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _is_of_the_group(error: Exception) -> bool:
    words = ("gloo", "nccl", "connection closed", "connection reset", "connection refused", "timed out", "tcpstore")
    return isinstance(error, dist.DistError) or any(word in str(error).lower() for word in words)
