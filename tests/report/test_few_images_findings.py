"""What the report states on few and on unequal images."""

from __future__ import annotations

import pytest

from edgenas.records.bundle import FileAccuracy
from edgenas.records.comparison import CandidateComparison
from edgenas.records.finetune import FinetuneSummary, SupernetSource
from edgenas.records.folder import SupernetSummary
from edgenas.report import findings
from edgenas.report.values import BundleFacts, ImageFacts

IMAGES = ImageFacts("photos", 2, ("cat", "dog"), {"train": 250, "val": 63})
SUPERNET = SupernetSummary(params=10, train_seconds=60.0, images_per_second=100.0)
TUNED = FinetuneSummary(
    dataset="photos",
    training_images=250,
    epochs=2.0,
    start="inherited",
    teacher="none",
    learning_rate_share=0.5,
    supernet=SupernetSource(dataset="photos", weights="0"),
    val_top1_before=51 / 63,
    val_top1_after=48 / 63,
    seconds=60.0,
)


def test_it_states_how_many_candidates_validation_distinguishes() -> None:
    facts = CandidateComparison(images=63, candidates=8, worse=3, best_share=0.41)
    sentence = findings.comparison(facts)
    assert sentence is not None
    assert (
        "63 validation images distinguish the first choice among 8 candidates significantly from 3 of the other 7"
        in sentence
    )
    assert "41 %" in sentence


@pytest.mark.parametrize("facts", [None, CandidateComparison(images=63, candidates=1, worse=0, best_share=1.0)])
def test_one_candidate_is_compared_with_none(facts: CandidateComparison | None) -> None:
    assert findings.comparison(facts) is None


def test_a_fine_tuning_is_only_discarded_where_it_is_significantly_worse() -> None:
    assert "not significantly less; the fine-tuned network is exported" in findings.finetuned(TUNED)
    worse = TUNED.model_copy(update={"worse": True})
    assert "significantly less; the network is exported as it was before" in findings.finetuned(worse)
    better = findings.finetuned(TUNED.model_copy(update={"val_top1_after": 60 / 63}))
    assert "less" not in better


def test_averages_and_patience_are_stated() -> None:
    sentence = findings.finetuned(TUNED.model_copy(update={"average": 0.9, "patience": 3}))
    assert "averaged with a decay of 0.9, with a patience of 3 validations" in sentence


def test_augmentation_and_weights_of_classes_are_stated() -> None:
    plain = findings.supernet(SUPERNET.model_copy(update={"augmentation": "none"}), "auto", IMAGES)
    assert "augmentation" not in plain
    assert "weighted" not in plain
    facts = SUPERNET.model_copy(update={"augmentation": "medium", "class_weights": (0.52, 1.9)})
    sentence = findings.supernet(facts, "auto", IMAGES)
    assert "with augmentation of level medium, with classes weighted 0.52 to 1.9 in the loss" in sentence


def test_the_mean_of_the_classes_is_stated_beside_the_hardest_one() -> None:
    accuracy = FileAccuracy(
        validation_top1=0.8,
        test_top1=0.85,
        test_images=100,
        test_images_by_class=(90, 10),
        test_top1_by_class=(0.9, 0.4),
    )
    sentence = findings.by_class(BundleFacts(classes=("cat", "dog"), accuracy=accuracy))
    assert "'dog' is hardest" in sentence or "dog is hardest" in sentence
    assert sentence.endswith("the mean of the classes (macro accuracy) is 65.0 %")
    assert accuracy.test_macro_top1 == pytest.approx(0.65)
