"""Accuracy sources: top-1 of architectures without a supernet of the run, published or from an imported predictor."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgenas.accuracy.accuracy_table import accuracy_table_path, load_accuracy_table
from edgenas.accuracy.ofa_predictor import OFAAccuracy, PredictedAccuracy
from edgenas.accuracy.published import PublishedAccuracy, check_choices
from edgenas.config.sections import AccuracyConfig
from edgenas.errors import ConfigError, DataError
from edgenas.files import user_path
from edgenas.space.arch import Arch
from edgenas.space.space import SearchSpace

Floats = npt.NDArray[np.float64]


class AccuracySource(Protocol):
    """Top-1 of the architectures of a space."""

    @property
    def dataset(self) -> str:
        """Return the name of the data set of the accuracies."""
        ...

    @property
    def num_classes(self) -> int:
        """Return the number of classes of the data set."""
        ...

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the file of the source."""
        ...

    def top1(self, archs: Sequence[Arch]) -> Floats:
        """Return expected top-1, a fraction, shape (n,)."""
        ...

    def interval(self, archs: Sequence[Arch]) -> Floats | None:
        """Return intervals of probability `surrogate.COVERAGE`, shape (n, 2), of width 0 if measured.

        None where the source gives no interval.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Return the identity and quality of the source for the summary."""
        ...


def open_source(config: AccuracyConfig, space: SearchSpace) -> AccuracySource:
    """Open the accuracy source of a config and check it against a space; the surrogate is fitted when first used.

    Raises:
        DataError: the file is missing or broken, or lacks (parts of) the space.
        ConfigError: the number of classes is not stated, or stated differently.
    """
    path = accuracy_table_path(config.file) if config.file is not None else user_path(config.predictor or "")
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"accuracy: {path} cannot be read: {error.strerror}") from None
    return _open(config, space, path, digest)


@lru_cache(maxsize=1)
def _open(config: AccuracyConfig, space: SearchSpace, path: Path, digest: str) -> AccuracySource:
    """Open a source; the last one is cached.

    Reading and fitting the shipped table of 1,474 rows takes 4 seconds, and a run opens its source in five stages.
    """
    if config.file is None:
        predictor = OFAAccuracy.load(path)
        predictor.check_space(space)
        classes = _num_classes(config, path, predictor.facts.num_classes)
        return PredictedAccuracy(predictor, str(config.predictor), predictor.facts.dataset, classes, digest)
    table = load_accuracy_table(config.file, space, config.column)
    check_choices(space, table)
    classes = _num_classes(config, path, table.num_classes)
    return PublishedAccuracy(space, table, config.file, table.dataset or Path(config.file).stem, classes, digest)


def _num_classes(config: AccuracyConfig, path: Path, stated: int | None) -> int:
    classes = config.num_classes or stated
    if classes is None:
        raise ConfigError(
            f"accuracy.num_classes: {path} does not state the number of classes, which the heads of networks depend "
            "on: set it, e.g. `num_classes: 1000`"
        )
    if stated not in (None, classes):
        raise ConfigError(f"accuracy.num_classes is {classes}, but {path} has {stated} classes: leave it out")
    return classes
