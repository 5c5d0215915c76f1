"""Networks of a run without weights, as files to be timed: latency does not depend on what the weights are."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from edgenas.deploy.onnx.exporter import export_for_timing
from edgenas.progress import Progress
from edgenas.space.arch import Arch
from edgenas.space.graph_variant import GraphVariant
from edgenas.space.space import ClassifierSpace


def export_weightless(
    space: ClassifierSpace,
    archs: Sequence[Arch],
    paths: Sequence[Path],
    variant: GraphVariant,
    progress: Progress,
) -> None:
    """Write each architecture with random weights to its path, all of which lie in one folder."""
    if not paths:
        return
    folder = paths[0].parent
    folder.mkdir(parents=True, exist_ok=True)
    networks = {arch.id: space.unroll(arch) for arch in archs}
    with tempfile.TemporaryDirectory(dir=folder, prefix=".weightless.") as temporary:
        step = partial(progress, "exporting the front")
        files = export_for_timing(networks, Path(temporary), step, variant=variant)
        for arch, path in zip(archs, paths, strict=True):
            os.replace(files[arch.id], path)
