"""Recipes: which archs are trained when, by whom; and that a training by each goes on where it stopped."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from halves import CONFIG, problem, quiet, supernet
from spaces import SMALL

from edgenas.config.sections import WITH_BOTH_ENDS, TrainConfig
from edgenas.errors import ConfigError
from edgenas.space.arch import Arch
from edgenas.space.covering_samples import macs_of
from edgenas.space.loading import load_space
from edgenas.training import trainer as course
from edgenas.training import training_loop as loop
from edgenas.training.losses import alpha_divergence_loss, distillation_loss, hard_loss
from edgenas.training.recipe import RECIPES, Lesson, lesson_at, rate_at, span_at, spans
from edgenas.training.schedule import learning_rate, sandwich
from edgenas.training.trainer import TEACHER, Course
from edgenas.training.training_step import lesson_backward

OFA = load_space("ofa-mbv3-w1.0")
STEPS = 1210


def config(recipe: str, **others: object) -> TrainConfig:
    return TrainConfig.model_validate({"epochs": 1, "recipe": recipe, "subnets_per_step": 4, **others})


def lessons(recipe: str, steps: Iterable[int]) -> list[Lesson]:
    return [lesson_at(OFA, config(recipe), 3, step, STEPS) for step in steps]


def values(found: Iterable[Lesson], gene: str) -> set[float]:
    """Values of a gene among all archs of lessons."""
    archs = [arch for lesson in found for arch in lesson.archs]
    if gene == "depth":
        return {len(stage.blocks) for arch in archs for stage in arch.stages[1:]}
    return {getattr(block, gene) for arch in archs for stage in arch.stages[1:] for block in stage.blocks}


def test_a_sandwich_has_in_place_distillation() -> None:
    (lesson,) = lessons("sandwich", [7])
    assert lesson == Lesson(tuple(sandwich(OFA, 4, 3, 7)), "first", False, "cross-entropy", 1.0)
    (other,) = lessons("alpha-divergence", [7])
    assert (other.archs, other.divergence) == (lesson.archs, "alpha")


def test_a_sandwich_without_a_teacher_has_the_same_archs() -> None:
    (trained,), (alone,) = lessons("sandwich", [7]), lessons("sandwich-labels", [7])
    assert (alone.archs, alone.teacher) == (trained.archs, None)


def test_uniform_sampling_draws_random_archs_that_learn_from_labels() -> None:
    found = lessons("uniform", range(20))
    assert {(lesson.teacher, len(lesson.archs)) for lesson in found} == {(None, 4)}
    assert OFA.largest not in {arch for lesson in found for arch in lesson.archs}
    assert values(found, "kernel") == {3, 5, 7}


def test_archs_of_all_sizes_are_drawn_alike_and_within_each_step() -> None:
    """In MACs, where independent genes make nearly all archs of middling size."""

    def places(recipe: str) -> np.ndarray:
        """Of the archs of 60 steps, (60, 4): from 0, the smallest arch, up to 1, the largest, by logarithm."""
        low, high = np.log(macs_of(OFA, [OFA.smallest, OFA.largest]))
        drawn = [np.log(macs_of(OFA, lesson.archs)) for lesson in lessons(recipe, range(60))]
        return (np.array(drawn) - low) / (high - low)

    assert TrainConfig(epochs=1).recipe == "all-sizes"
    found = lessons("all-sizes", range(20))
    assert {(lesson.teacher, len(lesson.archs)) for lesson in found} == {(None, 4)}
    assert values(found, "kernel") == {3, 5, 7}
    wide, narrow = places("all-sizes"), places("uniform")
    assert wide.std() > 1.5 * narrow.std()
    # The first of a step leans to small choices, the last to large ones.
    assert (wide[:, 0] < wide[:, -1]).mean() > 0.9
    assert 0.2 < (narrow[:, 0] < narrow[:, -1]).mean() < 0.8


def test_a_pool_is_all_that_is_trained_and_each_step_has_of_all_its_sizes() -> None:
    drawn = {OFA.sample(np.random.default_rng(seed)) for seed in range(40)}
    pool = sorted(drawn, key=lambda arch: macs_of(OFA, [arch])[0])
    found = [lesson_at(OFA, config("within-budgets"), 3, step, STEPS, pool) for step in range(300)]
    assert {(lesson.teacher, len(lesson.archs)) for lesson in found} == {(None, 4)}
    places = np.array([[pool.index(arch) for arch in lesson.archs] for lesson in found])
    assert set(places.ravel()) == set(range(len(pool)))
    quarters = places * 4 // len(pool)
    assert (quarters == np.arange(4)).all()
    # Where budgets are not known yet, a step is timed as if all of the space were allowed.
    assert lessons("within-budgets", [5]) == lessons("all-sizes", [5])


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_step_has_one_arch_where_neither_end_is_due(recipe: str) -> None:
    if recipe in WITH_BOTH_ENDS:
        with pytest.raises(ValueError, match="subnets_per_step of at least 2"):
            config(recipe, subnets_per_step=1)
    else:
        assert len(lesson_at(OFA, config(recipe, subnets_per_step=1), 3, 0, STEPS).archs) == 1


def test_delayed_shrinking_trains_the_largest_alone_then_lets_students_in_slowly() -> None:
    early, late = lessons("delayed-shrinking", range(0, 605, 55)), lessons("delayed-shrinking", range(605, STEPS))
    assert {len(lesson.archs) for lesson in early} == {1}
    assert all(lesson.archs[0].stages == OFA.largest.stages for lesson in early)
    assert all(lesson.archs[:2] == (OFA.largest, OFA.smallest) for lesson in late)
    weights = [lesson.student_weight for lesson in late]
    assert weights == sorted(weights)
    assert weights[0] == pytest.approx(0.01)
    assert weights[302] == pytest.approx(1.0, abs=0.01)
    assert weights[-1] == 1.0


def test_progressive_shrinking_frees_kernels_then_depths_then_ratios() -> None:
    ends = [0, 360, 610, 660, 910, 960, 1210]
    found = [lessons("progressive-shrinking", range(*ends[n : n + 2], 2)) for n in range(6)]
    genes = ("kernel", "depth", "expand")
    assert [tuple(sorted(values(phase, gene)) for gene in genes) for phase in found] == [
        ([7], [4], [6]),
        ([3, 5, 7], [4], [6]),
        ([3, 5, 7], [3, 4], [6]),
        ([3, 5, 7], [2, 3, 4], [6]),
        ([3, 5, 7], [2, 3, 4], [4, 6]),
        ([3, 5, 7], [2, 3, 4], [3, 4, 6]),
    ]
    assert [{lesson.teacher for lesson in phase} for phase in found] == [{None}, *[{"frozen"}] * 5]
    # Teacher and students see the same images at the same size.
    assert all(len({arch.resolution for arch in lesson.archs}) == 1 for phase in found for lesson in phase)
    assert len({lesson.archs[0].resolution for phase in found for lesson in phase}) > 10


def test_learning_rates_begin_anew_where_a_phase_does() -> None:
    settings = config("progressive-shrinking", learning_rate=2.6, warmup=0.1)
    assert rate_at(settings, 36, STEPS) == pytest.approx(2.6)
    assert rate_at(settings, 359, STEPS) < 1e-3
    assert rate_at(settings, 360 + 25, STEPS) == pytest.approx(0.96)
    assert rate_at(settings, 610 + 5, STEPS) == pytest.approx(0.08)
    assert rate_at(settings, 960 + 25, STEPS) == pytest.approx(0.24)
    plain = config("delayed-shrinking", learning_rate=1.0)
    assert [rate_at(plain, step, 40) for step in range(40)] == [
        learning_rate(step, 40, 1.0, 0.05) for step in range(40)
    ]


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 1000, 123_457])
def test_phases_cover_every_step_once(name: str, steps: int) -> None:
    asked = [0, steps // 3, steps // 2, steps - 1, *range(min(steps, 50))]
    found = [span_at(RECIPES[name], step, steps) for step in asked]
    assert all(span.start <= step < span.stop <= steps for span, step in zip(found, asked, strict=True))
    assert min(span.start for span in found) == 0
    assert max(span.stop for span in found) == steps


def gradients(lesson: Lesson, **others: object) -> dict[str, torch.Tensor | None]:
    net = supernet().double().train()
    lesson_backward(net, IMAGES, LABELS, lesson, **others)
    return {name: parameter.grad for name, parameter in net.named_parameters()}


IMAGES = torch.randint(0, 256, (6, 1, 20, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
LABELS = torch.tensor([0, 1, 0, 1, 1, 0])


def reference(losses: object) -> dict[str, torch.Tensor | None]:
    """Gradients of a sum of losses, written down as `losses(logits of an arch)`."""
    net = supernet().double().train()

    def logits(arch: Arch) -> torch.Tensor:
        from edgenas.training.materialise import preprocess_for

        return net(preprocess_for(arch)(IMAGES).double(), arch)

    losses(logits).backward()
    return {name: parameter.grad for name, parameter in net.named_parameters()}


def assert_equal(found: dict[str, torch.Tensor | None], expected: dict[str, torch.Tensor | None]) -> None:
    assert any(grad is not None for grad in found.values())
    for name, grad in found.items():
        assert (grad is None) == (expected[name] is None), name
        if grad is not None:
            torch.testing.assert_close(grad, expected[name], msg=name)


def test_gradients_of_lessons_are_those_of_their_losses() -> None:
    space = supernet().space
    big, small = space.largest, space.smallest
    uniform = gradients(Lesson((big, small), None), label_smoothing=0.1)
    assert_equal(uniform, reference(lambda f: hard_loss(f(big), LABELS, 0.1) + hard_loss(f(small), LABELS, 0.1)))

    def slowly(f):  # type: ignore[no-untyped-def]
        led = f(big)
        return hard_loss(led, LABELS, 0.0) + 0.25 * alpha_divergence_loss(f(small), led.detach())

    found = gradients(Lesson((big, small), "first", False, "alpha", 0.25))
    assert_equal(found, reference(slowly))
    teacher = supernet().double().extract(big).train()
    soft = teacher(torch.zeros(2, 3, small.resolution, small.resolution, dtype=torch.float64)).detach()
    assert soft.shape == (2, 2)

    def frozen(f):  # type: ignore[no-untyped-def]
        from edgenas.training.materialise import preprocess_for

        own = f(small)
        trained = teacher(preprocess_for(small)(IMAGES).double()).detach()
        return hard_loss(own, LABELS, 0.0) + distillation_loss(own, trained)

    found = gradients(Lesson((small,), "frozen", True), teacher=supernet().double().extract(big).train())
    assert_equal(found, reference(frozen))


class Killed(Exception):
    pass


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_killed_twice_resumes_bit_for_bit(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    settings = CONFIG.model_copy(update={"recipe": recipe, "epochs": 2.0, "average": 0.9, "optimizer": "sgd"})
    pool = [*SMALL.decode(np.zeros((1, len(SMALL.choices)), dtype=int)), SMALL.largest]
    weights = []
    for name, kills in (("straight", ()), ("cut", (4, 7))):
        for stop in kills:

            def kill(label: str, done: int, total: int, stop: int = stop) -> None:
                if label.startswith("training") and done == stop:
                    raise Killed

            with pytest.raises(Killed):
                loop.train(supernet(), problem(), settings, seed=5, folder=tmp_path / name, progress=kill, pool=pool)
        net = supernet()
        loop.train(net, problem(), settings, seed=5, folder=tmp_path / name, progress=quiet, pool=pool)
        weights.append(net.state_dict())
    torch.testing.assert_close(*weights, rtol=0, atol=0)


def test_a_recipe_without_its_pool_is_refused(tmp_path: Path) -> None:
    settings = CONFIG.model_copy(update={"recipe": "within-budgets"})
    with pytest.raises(ConfigError, match="within-budgets wants a pool"):
        loop.train(supernet(), problem(), settings, seed=5, folder=tmp_path, progress=quiet)


def test_the_frozen_teacher_is_the_largest_as_it_was(tmp_path: Path) -> None:
    settings = CONFIG.model_copy(update={"recipe": "progressive-shrinking", "epochs": 4.0})
    net, trained = supernet(), problem()
    steps = Course(net, settings, 5, 24, folder=tmp_path)
    start = spans(RECIPES["progressive-shrinking"], 24)[1].start
    for step, batch in enumerate(course.batches(trained, settings, 5, range(24))):
        if step == start:
            expected = net.extract(net.space.largest).state_dict()
        steps.step(step, batch)
    kept = safetensors.torch.load_file(tmp_path / TEACHER)
    for name, tensor in expected.items():
        # Its running statistics are not used, and follow along.
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(kept[name], tensor, rtol=0, atol=0)
    assert not torch.equal(kept["blocks.stem.conv.conv.weight"], net.blocks["stem"].conv.conv.weight)
