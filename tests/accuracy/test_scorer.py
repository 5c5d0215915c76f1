"""The scorer asks a source once for each architecture, and keeps every score as soon as it is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgenas.accuracy.scorer import Scorer
from edgenas.accuracy.scores import Score, ScoreSetting
from edgenas.errors import ConfigError
from edgenas.records.ledger import Ledger
from edgenas.records.search import EvaluationRow
from edgenas.space.arch import Arch
from edgenas.space.covering_samples import covering
from edgenas.space.loading import load_space

SPACE = load_space("digits-24")
ARCHS = covering(SPACE, 6, 0)
PREDICTORS: Any = {"here": SimpleNamespace(predict=lambda archs: np.full(len(archs), 10.0))}


@dataclass
class FakeSource:
    """Gives scores one by one; fails at one architecture."""

    setting: ScoreSetting = ScoreSetting("weights", 8, 16)
    worst_class_error: float = 0.5
    balanced_error: float = 0.4
    fails_at: Arch | None = None
    asked: list[Arch] = field(default_factory=list)
    dataset = "images"
    costly = True

    def scores(self, archs: Sequence[Arch]) -> Iterator[Sequence[Score]]:
        for arch in archs:
            if arch == self.fails_at:
                raise RuntimeError("the accelerator fell off")
            self.asked.append(arch)
            yield [Score(arch, ARCHS.index(arch) / 10, self.worst_class_error, self.balanced_error, seconds=2.0)]

    def interval(self, archs: Sequence[Arch]) -> None:
        return

    def right(self, subnet: Any) -> None:
        return


def scorer(source: FakeSource, path: Path) -> Scorer:
    return Scorer(source, Ledger(path / "evaluations.jsonl", EvaluationRow, SPACE), PREDICTORS, lambda done: None)


def test_an_architecture_is_scored_once_and_read_from_the_file_later(tmp_path: Path) -> None:
    source = FakeSource()
    first = scorer(source, tmp_path)
    assert first.error([ARCHS[1], ARCHS[2], ARCHS[1]]).tolist() == [0.1, 0.2, 0.1]
    assert first.worst_class_error(ARCHS[1:3]).tolist() == [0.5, 0.5]
    again = scorer(source, tmp_path)
    assert again.balanced_error(ARCHS[1:3]).tolist() == [0.4, 0.4]
    assert again.error(ARCHS[:3]).tolist() == [0.0, 0.1, 0.2]
    assert source.asked == [ARCHS[1], ARCHS[2], ARCHS[0]]
    assert again.seconds == 6.0


def test_scores_before_a_failure_are_kept(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="fell off"):
        scorer(FakeSource(fails_at=ARCHS[3]), tmp_path).error(ARCHS)
    assert list(scorer(FakeSource(), tmp_path).scores) == ARCHS[:3]


def test_scores_of_another_setting_do_not_count_and_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scorer(FakeSource(), tmp_path).error(ARCHS[:4])
    other = scorer(FakeSource(ScoreSetting("weights", 8, 17)), tmp_path)
    assert other.scores == {}
    assert other.seconds == 0
    assert "4 of 4 evaluations are of other weights or images" in caplog.text


def test_progress_counts_each_architecture_once(tmp_path: Path) -> None:
    counts: list[int] = []
    ledger = Ledger(tmp_path / "evaluations.jsonl", EvaluationRow, SPACE)
    counted = Scorer(FakeSource(), ledger, PREDICTORS, counts.append)
    counted.error(ARCHS[:3])
    counted.error(ARCHS[1:4])
    assert counts[-1] == 4


def test_without_a_ledger_nothing_is_written(tmp_path: Path) -> None:
    assert Scorer(FakeSource(), None, PREDICTORS, lambda done: None).error(ARCHS[:2]).tolist() == [0.0, 0.1]
    assert not list(tmp_path.iterdir())


def test_a_source_with_top1_only_has_no_worst_class(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="worst_class_error needs images, and images has top-1 only"):
        scorer(FakeSource(worst_class_error=np.nan), tmp_path).worst_class_error(ARCHS[:1])
    with pytest.raises(ConfigError, match="balanced_error needs images, and images has top-1 only"):
        scorer(FakeSource(balanced_error=np.nan), tmp_path / "other").balanced_error(ARCHS[:1])
