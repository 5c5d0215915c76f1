"""Networks that keep the supernet's weights in a run that fine-tunes, and their accuracy drop."""

from __future__ import annotations

from collections.abc import Sequence

from edgenas.records.finetune import FinetuneRecord
from edgenas.runs.run import Run
from edgenas.space.arch import Arch
from edgenas.stages.weights.tuned_network import Tuned, tuned_subnet


def shipping_subnet(run: Run, arch: Arch) -> Tuned | None:
    """Return the fine-tuned form of an architecture; None where it ships, as far as is done, with inherited weights.

    Args:
        run: trained.
        arch: architecture of its space.

    Raises:
        RunFolderError: the images changed since fine-tuning, or its weights are missing or broken.
    """
    return tuned_subnet(run, arch) if run.done("finetune") else None


def inherited_note(run: Run, archs: Sequence[Arch]) -> str | None:
    """Return a note on the accuracy drop of inherited weights, measured on the network that was fine-tuned.

    Args:
        run: trained.
        archs: networks that were not fine-tuned; those of the shelf inherit nothing.

    Returns:
        None where there are no such networks, the run does not fine-tune, or fine-tuning did not help.
    """
    archs = [arch for arch in archs if not arch.network]
    if not archs or run.lacks("finetune") is not None:
        return None
    lead = f"inherited weights, not fine-tuned: {', '.join(arch.id for arch in archs)}"
    if not run.done("finetune"):
        return f"{lead}; the run fine-tunes the network that ships, which `edgenas finetune {run.folder}` does"
    tuned = run.result(FinetuneRecord)
    if not tuned.ships:
        return None
    before, after = tuned.val_top1_before, tuned.val_top1_after
    if before is None:
        return f"{lead}; the chosen network was fine-tuned on {tuned.dataset}, with a new classifier"
    return f"{lead}; fine-tuning raised the chosen network's validation top-1 from {before:.2%} to {after:.2%}"
