"""Stage finetune: the chosen subnet is trained on its own before it is exported, perhaps on other images."""

from __future__ import annotations

from edgenas.progress import Progress
from edgenas.records.finetune import FinetuneRecord
from edgenas.runs.run import Run
from edgenas.stages.weights.tuned_network import finetuned


def finetune_chosen(run: Run, progress: Progress) -> FinetuneRecord:
    """Fine-tune the chosen subnet, see `finetuned`.

    Raises:
        RunFolderError, DataError, EdgenasError: see `finetuned`.
    """
    return finetuned(run, run.chosen, progress)
