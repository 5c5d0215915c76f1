"""Accuracies that no supernet of the run tells: measured by others, or by a predictor that was imported."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgenas.accuracy.ofa_predictor import OFAAccuracy
from edgenas.accuracy.published import AccuracyTable, MeasuredAccuracy, accuracy_table_path, load_accuracy_table
from edgenas.config.sections import AccuracyConfig
from edgenas.errors import ConfigError, DataError
from edgenas.files import user_path
from edgenas.search.surrogate import HALF_WIDTH
from edgenas.space.arch import Arch
from edgenas.space.space import SearchSpace

Floats = npt.NDArray[np.float64]
TOP1 = (0.0, 1.0)


class AccuracySource(Protocol):
    """Tells what archs of a space are worth without a supernet."""

    @property
    def dataset(self) -> str:
        """What accuracies are of."""
        ...

    @property
    def num_classes(self) -> int:
        """Of the dataset."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256 of the file that it is read from."""
        ...

    def top1(self, archs: Sequence[Arch]) -> Floats:
        """Expected top-1, a fraction, shape (n,)."""
        ...

    def interval(self, archs: Sequence[Arch]) -> Floats | None:
        """What top-1 lies within with probability `surrogate.COVERAGE`, shape (n, 2); of no width where measured.

        None where the source does not know.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """What it is and how good, for the summary."""
        ...


@dataclass(frozen=True, eq=False)
class PublishedAccuracy:
    """A table of measured archs, and a surrogate for all others."""

    space: SearchSpace
    table: AccuracyTable
    name: str
    dataset: str
    num_classes: int
    digest: str

    @cached_property
    def _fitted(self) -> MeasuredAccuracy:
        return MeasuredAccuracy(self.space).fit(self.table)

    def top1(self, archs: Sequence[Arch]) -> Floats:
        """Expected top-1; of measured archs what was measured."""
        return 1 - self._fitted.error(archs)

    def interval(self, archs: Sequence[Arch]) -> Floats:
        """By the surrogate's standard deviation."""
        percent, deviation = self._fitted.predict(archs)
        half = HALF_WIDTH * deviation
        return np.clip(np.column_stack([percent - half, percent + half]) / 100, *TOP1)

    def describe(self) -> dict[str, Any]:
        """The surrogate's quality, leaving one measured arch out at a time; errors in points of top-1."""
        quality = {key: value for key, value in asdict(self._fitted.quality_).items() if key != "rmse"}
        rmse = {"rmse_points": self._fitted.quality_.rmse}
        return {"file": self.name, "sha256": self.digest, "dataset": self.dataset, **quality, **rmse}


@dataclass(frozen=True, eq=False)
class PredictedAccuracy:
    """Once-for-all's own predictor."""

    predictor: OFAAccuracy
    name: str
    dataset: str
    num_classes: int
    digest: str

    def top1(self, archs: Sequence[Arch]) -> Floats:
        """As it predicts."""
        return np.clip(self.predictor.top1(archs), *TOP1)

    def interval(self, archs: Sequence[Arch]) -> None:
        """It tells none."""
        return

    def describe(self) -> dict[str, Any]:
        """Which it is; how good, its file does not say."""
        return {"predictor": self.name, "sha256": self.digest, "dataset": self.dataset}


def open_source(config: AccuracyConfig, space: SearchSpace) -> AccuracySource:
    """What a config names as its source of accuracies, fit to be asked about a space; fitting waits for that.

    Raises:
        DataError: there is no such file, it is broken, or it says nothing of (parts of) the space.
        ConfigError: the number of classes is not stated, or stated differently.
    """
    path = accuracy_table_path(config.file) if config.file is not None else user_path(config.predictor or "")
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"accuracy: {path} cannot be read: {error.strerror}") from None
    return _opened(config, space, path, digest)


@lru_cache(maxsize=1)
def _opened(config: AccuracyConfig, space: SearchSpace, path: Path, digest: str) -> AccuracySource:
    """Kept, since every stage asks for it, and the surrogate takes seconds to fit."""
    if config.file is None:
        predictor = OFAAccuracy.load(path)
        predictor.check_space(space)
        classes = _classes(config, path, predictor.facts.num_classes)
        return PredictedAccuracy(predictor, str(config.predictor), predictor.facts.dataset, classes, digest)
    table = load_accuracy_table(config.file, space, config.column)
    MeasuredAccuracy(space).check_choices(table)
    classes = _classes(config, path, table.num_classes)
    return PublishedAccuracy(space, table, config.file, table.dataset or Path(config.file).stem, classes, digest)


def _classes(config: AccuracyConfig, path: Path, stated: int | None) -> int:
    wanted = config.num_classes
    if wanted is None and stated is None:
        raise ConfigError(
            f"accuracy.num_classes: {path} does not state how many classes its accuracies are of, which the networks' "
            "heads depend on: say it, e.g. `num_classes: 1000`"
        )
    if wanted is not None and stated not in (None, wanted):
        raise ConfigError(f"accuracy.num_classes is {wanted}, but {path} is of {stated} classes: leave it out")
    return int(wanted or stated or 0)
