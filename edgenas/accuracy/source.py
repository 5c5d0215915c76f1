"""Opens the accuracy source that a config names: a table of published measurements, or an imported predictor."""

from __future__ import annotations

import hashlib
from pathlib import Path

from edgenas.accuracy.accuracy_table import accuracy_table_path, load_accuracy_table
from edgenas.accuracy.ofa_predictor import OFAAccuracy, PredictedAccuracy
from edgenas.accuracy.published import PublishedAccuracy, check_choices
from edgenas.accuracy.scores import StatedAccuracy
from edgenas.config.sections import AccuracyConfig
from edgenas.errors import ConfigError, DataError
from edgenas.files import user_path
from edgenas.space.space import SearchSpace


def open_source(config: AccuracyConfig, space: SearchSpace) -> StatedAccuracy:
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
