"""Recipes: the plan of every step, its gradients, and bit-identical resuming under every recipe."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from halves import CONFIG, EVERY_STEP, Killed, kill_at, problem, quiet, supernet
from spaces import SMALL

from edgenas.config.train_config import NEVER_LARGEST, WITH_BOTH_ENDS, TrainConfig
from edgenas.errors import ConfigError
from edgenas.space.arch import Arch
from edgenas.space.covering_samples import macs_of
from edgenas.space.loading import load_space
from edgenas.training import trainer as trainer_module
from edgenas.training import training_loop as loop
from edgenas.training.frozen_teacher import TEACHER
from edgenas.training.losses import alpha_divergence_loss, distillation_loss, hard_loss
from edgenas.training.materialise import preprocess_for
from edgenas.training.recipe import RECIPES, StepPlan, learning_rate_at, phase_at, phase_steps, plan_step
from edgenas.training.schedule import learning_rate, sandwich
from edgenas.training.trainer import Trainer
from edgenas.training.training_step import accumulate_gradients

OFA = load_space("ofa-mbv3-w1.0")
STEPS = 1210


def config(recipe: str, **others: object) -> TrainConfig:
    return TrainConfig.model_validate({"epochs": 1, "recipe": recipe, "subnets_per_step": 4, **others})


def plans(recipe: str, steps: Iterable[int]) -> list[StepPlan]:
    return [plan_step(OFA, config(recipe), 3, step, STEPS) for step in steps]


def values(plans: Iterable[StepPlan], gene: str) -> set[float]:
    """Return the values of a gene among all architectures of the plans."""
    archs = [arch for plan in plans for arch in plan.archs]
    if gene == "depth":
        return {len(stage.blocks) for arch in archs for stage in arch.stages[1:]}
    return {getattr(block, gene) for arch in archs for stage in arch.stages[1:] for block in stage.blocks}


def test_a_sandwich_has_in_place_distillation() -> None:
    (plan,) = plans("sandwich", [7])
    assert plan == StepPlan(tuple(sandwich(OFA, 4, 3, 7)), "first", False, "cross-entropy", 1.0)
    (other,) = plans("alpha-divergence", [7])
    assert (other.archs, other.divergence) == (plan.archs, "alpha")


def test_a_sandwich_without_a_teacher_has_the_same_archs() -> None:
    (distilled,), (supervised,) = plans("sandwich", [7]), plans("sandwich-labels", [7])
    assert (supervised.archs, supervised.teacher) == (distilled.archs, None)


def test_uniform_sampling_trains_random_archs_on_labels() -> None:
    uniform = plans("uniform", range(20))
    assert {(plan.teacher, len(plan.archs)) for plan in uniform} == {(None, 4)}
    assert OFA.largest not in {arch for plan in uniform for arch in plan.archs}
    assert values(uniform, "kernel") == {3, 5, 7}


def test_all_sizes_are_drawn_alike_overall_and_within_each_step() -> None:
    """In MACs; independent genes give nearly only architectures of medium size."""

    def sizes(recipe: str) -> np.ndarray:
        """Return log MACs for 60 steps, (60, 4), scaled to 0 for the smallest and 1 for the largest architecture."""
        low, high = np.log(macs_of(OFA, [OFA.smallest, OFA.largest]))
        drawn = [np.log(macs_of(OFA, plan.archs)) for plan in plans(recipe, range(60))]
        return (np.array(drawn) - low) / (high - low)

    assert TrainConfig(epochs=1).recipe == "all-sizes"
    all_sizes = plans("all-sizes", range(20))
    assert {(plan.teacher, len(plan.archs)) for plan in all_sizes} == {(None, 4)}
    assert values(all_sizes, "kernel") == {3, 5, 7}
    wide, narrow = sizes("all-sizes"), sizes("uniform")
    assert wide.std() > 1.5 * narrow.std()
    # The first architecture of a step tends to small choices, the last to large ones.
    assert (wide[:, 0] < wide[:, -1]).mean() > 0.9
    assert 0.2 < (narrow[:, 0] < narrow[:, -1]).mean() < 0.8


def test_only_the_pool_is_trained_and_each_step_covers_its_sizes() -> None:
    drawn = {OFA.sample(np.random.default_rng(seed)) for seed in range(40)}
    pool = sorted(drawn, key=lambda arch: macs_of(OFA, [arch])[0])
    within = [plan_step(OFA, config("within-budgets"), 3, step, STEPS, pool) for step in range(300)]
    assert {(plan.teacher, len(plan.archs)) for plan in within} == {(None, 4)}
    indices = np.array([[pool.index(arch) for arch in plan.archs] for plan in within])
    assert set(indices.ravel()) == set(range(len(pool)))
    quarters = indices * 4 // len(pool)
    assert (quarters == np.arange(4)).all()
    # Before the budgets are known, steps are timed on architectures of the whole space.
    assert plans("within-budgets", [5]) == plans("all-sizes", [5])


def test_a_pretrained_network_is_tuned_and_then_distilled_into_the_pool() -> None:
    pool = [OFA.sample(np.random.default_rng(seed)) for seed in range(40)]
    tuning, distilling = (
        [plan_step(OFA, config("teacher-first"), 3, step, STEPS, pool) for step in range(part.start, part.stop, 20)]
        for part in phase_steps(RECIPES["teacher-first"], STEPS)
    )
    assert set(tuning) == {StepPlan((OFA.largest,), None)}
    assert {(len(plan.archs), plan.teacher, plan.labels) for plan in distilling} == {(4, "tuned", True)}
    assert {arch for plan in distilling for arch in plan.archs} <= set(pool)


def test_recipes_that_draw_from_a_pool_alone_are_no_source_of_a_largest_teacher() -> None:
    pool_alone = {name for name, recipe in RECIPES.items() if {phase.draw for phase in recipe.phases} == {"pool"}}
    assert pool_alone == set(NEVER_LARGEST)


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes_without_a_sandwich_may_train_one_arch_a_step(recipe: str) -> None:
    if recipe in WITH_BOTH_ENDS:
        with pytest.raises(ValueError, match="subnets_per_step of at least 2"):
            config(recipe, subnets_per_step=1)
    else:
        assert len(plan_step(OFA, config(recipe, subnets_per_step=1), 3, 0, STEPS).archs) == 1


def test_delayed_shrinking_trains_the_largest_first_then_ramps_students_up() -> None:
    early, late = plans("delayed-shrinking", range(0, 605, 55)), plans("delayed-shrinking", range(605, STEPS))
    assert {len(plan.archs) for plan in early} == {1}
    assert all(plan.archs[0].stages == OFA.largest.stages for plan in early)
    assert all(plan.archs[:2] == (OFA.largest, OFA.smallest) for plan in late)
    weights = [plan.student_weight for plan in late]
    assert weights == sorted(weights)
    assert weights[0] == pytest.approx(0.01)
    assert weights[302] == pytest.approx(1.0, abs=0.01)
    assert weights[-1] == 1.0


def test_progressive_shrinking_frees_kernels_then_depths_then_ratios() -> None:
    ends = [0, 360, 610, 660, 910, 960, 1210]
    phases = [plans("progressive-shrinking", range(*ends[n : n + 2], 2)) for n in range(6)]
    genes = ("kernel", "depth", "expand")
    assert [tuple(sorted(values(phase, gene)) for gene in genes) for phase in phases] == [
        ([7], [4], [6]),
        ([3, 5, 7], [4], [6]),
        ([3, 5, 7], [3, 4], [6]),
        ([3, 5, 7], [2, 3, 4], [6]),
        ([3, 5, 7], [2, 3, 4], [4, 6]),
        ([3, 5, 7], [2, 3, 4], [3, 4, 6]),
    ]
    assert [{plan.teacher for plan in phase} for phase in phases] == [{None}, *[{"frozen"}] * 5]
    # Teacher and students get the same images at the same size.
    assert all(len({arch.resolution for arch in plan.archs}) == 1 for phase in phases for plan in phase)
    assert len({plan.archs[0].resolution for phase in phases for plan in phase}) > 10


def test_phases_restart_the_learning_rate() -> None:
    settings = config("progressive-shrinking", learning_rate=2.6, warmup=0.1)
    assert learning_rate_at(settings, 36, STEPS) == pytest.approx(2.6)
    assert learning_rate_at(settings, 359, STEPS) < 1e-3
    assert learning_rate_at(settings, 360 + 25, STEPS) == pytest.approx(0.96)
    assert learning_rate_at(settings, 610 + 5, STEPS) == pytest.approx(0.08)
    assert learning_rate_at(settings, 960 + 25, STEPS) == pytest.approx(0.24)
    plain = config("delayed-shrinking", learning_rate=1.0)
    assert [learning_rate_at(plain, step, 40) for step in range(40)] == [
        learning_rate(step, 40, 1.0, 0.05) for step in range(40)
    ]


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 1000, 123_457])
def test_phases_cover_every_step_once(name: str, steps: int) -> None:
    sampled = [0, steps // 3, steps // 2, steps - 1, *range(min(steps, 50))]
    phases = [phase_at(RECIPES[name], step, steps) for step in sampled]
    assert all(phase.start <= step < phase.stop <= steps for phase, step in zip(phases, sampled, strict=True))
    assert min(phase.start for phase in phases) == 0
    assert max(phase.stop for phase in phases) == steps


def gradients(plan: StepPlan, **others: object) -> dict[str, torch.Tensor | None]:
    net = supernet().double().train()
    accumulate_gradients(net, IMAGES, LABELS, plan, **others)
    return {name: parameter.grad for name, parameter in net.named_parameters()}


IMAGES = torch.randint(0, 256, (6, 1, 20, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
LABELS = torch.tensor([0, 1, 0, 1, 1, 0])


def reference(losses: object) -> dict[str, torch.Tensor | None]:
    """Return the gradients of a sum of losses, given as a function of a function from architectures to logits."""
    net = supernet().double().train()

    def logits(arch: Arch) -> torch.Tensor:
        return net(preprocess_for(arch)(IMAGES).double(), arch)

    losses(logits).backward()
    return {name: parameter.grad for name, parameter in net.named_parameters()}


def assert_equal(actual: dict[str, torch.Tensor | None], expected: dict[str, torch.Tensor | None]) -> None:
    assert any(grad is not None for grad in actual.values())
    for name, grad in actual.items():
        assert (grad is None) == (expected[name] is None), name
        if grad is not None:
            torch.testing.assert_close(grad, expected[name], msg=name)


def test_gradients_of_a_plan_are_those_of_its_losses() -> None:
    space = supernet().space
    big, small = space.largest, space.smallest
    uniform = gradients(StepPlan((big, small), None), label_smoothing=0.1)
    assert_equal(uniform, reference(lambda f: hard_loss(f(big), LABELS, 0.1) + hard_loss(f(small), LABELS, 0.1)))

    weights = torch.tensor([0.5, 1.5])

    def weighted(f):  # type: ignore[no-untyped-def]
        terms = F.cross_entropy(f(big), LABELS, reduction="none")
        return (terms * weights[LABELS].double()).mean()

    assert_equal(gradients(StepPlan((big,), None), class_weights=weights), reference(weighted))

    def ramped(f):  # type: ignore[no-untyped-def]
        teacher_logits = f(big)
        return hard_loss(teacher_logits, LABELS, 0.0) + 0.25 * alpha_divergence_loss(f(small), teacher_logits.detach())

    assert_equal(gradients(StepPlan((big, small), "first", False, "alpha", 0.25)), reference(ramped))
    teacher = supernet().double().extract(big).train()
    logits = teacher(torch.zeros(2, 3, small.resolution, small.resolution, dtype=torch.float64)).detach()
    assert logits.shape == (2, 2)

    def frozen(f):  # type: ignore[no-untyped-def]
        student_logits = f(small)
        teacher_logits = teacher(preprocess_for(small)(IMAGES).double()).detach()
        return hard_loss(student_logits, LABELS, 0.0) + distillation_loss(student_logits, teacher_logits)

    distilled = gradients(StepPlan((small,), "frozen", True), teacher=supernet().double().extract(big).train())
    assert_equal(distilled, reference(frozen))


def test_a_tuned_teacher_sees_its_own_resolution_whatever_the_students() -> None:
    space = supernet().space
    teacher = supernet().double().extract(space.largest).eval()
    students = (space.smallest, dataclasses.replace(space.smallest, resolution=space.largest.resolution))
    assert len({arch.resolution for arch in students}) == 2
    logits = teacher(preprocess_for(space.largest)(IMAGES).double()).detach()
    distilled = gradients(StepPlan(students, "tuned", True), teacher=teacher)
    assert_equal(
        distilled,
        reference(
            lambda f: sum(hard_loss(f(arch), LABELS, 0.0) + distillation_loss(f(arch), logits) for arch in students)
        ),
    )


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_killed_twice_resumes_bit_for_bit(recipe: str, tmp_path: Path) -> None:
    settings = EVERY_STEP.model_copy(update={"recipe": recipe, "epochs": 2.0, "average": 0.9, "optimizer": "sgd"})
    pool = [*SMALL.decode(np.zeros((1, len(SMALL.choices)), dtype=int)), SMALL.largest]
    weights = []
    for name, kills in (("straight", ()), ("cut", (4, 7))):
        for stop in kills:
            with pytest.raises(Killed):
                loop.train(
                    supernet(), problem(), settings, seed=5, folder=tmp_path / name, progress=kill_at(stop), pool=pool
                )
        net = supernet()
        loop.train(net, problem(), settings, seed=5, folder=tmp_path / name, progress=quiet, pool=pool)
        weights.append(net.state_dict())
    torch.testing.assert_close(*weights, rtol=0, atol=0)


def test_a_recipe_without_its_pool_is_refused(tmp_path: Path) -> None:
    settings = CONFIG.model_copy(update={"recipe": "within-budgets"})
    with pytest.raises(ConfigError, match="within-budgets needs a pool"):
        loop.train(supernet(), problem(), settings, seed=5, folder=tmp_path, progress=quiet)


def test_the_frozen_teacher_is_the_largest_as_it_was(tmp_path: Path) -> None:
    settings = CONFIG.model_copy(update={"recipe": "progressive-shrinking", "epochs": 4.0})
    net, dataset = supernet(), problem()
    trainer = Trainer(net, settings, 5, 24, folder=tmp_path)
    start = phase_steps(RECIPES["progressive-shrinking"], 24)[1].start
    for step, batch in enumerate(trainer_module.batches(dataset, settings, 5, range(24))):
        if step == start:
            expected = net.extract(net.space.largest).state_dict()
        trainer.step(step, batch)
    frozen = safetensors.torch.load_file(tmp_path / TEACHER)
    for name, tensor in expected.items():
        # The running statistics change, and are not used.
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(frozen[name], tensor, rtol=0, atol=0)
    assert not torch.equal(frozen["blocks.stem.conv.conv.weight"], net.blocks["stem"].conv.conv.weight)


def test_the_tuned_teacher_has_the_statistics_of_its_training(tmp_path: Path) -> None:
    settings = CONFIG.model_copy(update={"recipe": "teacher-first", "epochs": 4.0})
    net, dataset = supernet(), problem()
    trainer = Trainer(net, settings, 5, 24, folder=tmp_path, pool=[SMALL.smallest])
    start = phase_steps(RECIPES["teacher-first"], 24)[1].start
    for step, batch in enumerate(trainer_module.batches(dataset, settings, 5, range(start + 2))):
        if step == start:
            expected = net.extract(net.space.largest).eval()
        trainer.step(step, batch)
    images = torch.randn(4, 3, expected.resolution, expected.resolution)
    assert trainer.teacher is not None
    torch.testing.assert_close(trainer.teacher(images), expected(images), rtol=0, atol=0)
    resumed = Trainer(net, settings, 5, 24, folder=tmp_path, pool=[SMALL.smallest])
    resumed.step(start + 1, batch)
    assert resumed.teacher is not None
    torch.testing.assert_close(resumed.teacher(images), expected(images), rtol=0, atol=0)
