"""Section `train` of a config: how the supernet is trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    Field,
    ModelWrapValidatorHandler,
    ValidationInfo,
    field_validator,
    model_validator,
)

from edgenas.config.section import Section
from edgenas.space.network_names import NETWORK_FORMS, is_network_name

AugmentLevel = Literal["auto", "none", "light", "medium", "strong"]
MEDIUM_BELOW = 500
"""Training images a class below which `auto` takes level `medium`, else `light`.

`strong` suits longer trainings than fine-tuning: see examples/results/LOG.md.
"""


class AugmentConfig(Section):
    """Augmentation of training images: a level, with optional values of its own for shifts and flips."""

    level: AugmentLevel | None = None
    shift: float | None = Field(None, ge=0, lt=0.5)
    flip: bool | None = None

    def for_images(self, images_a_class: float) -> AugmentConfig:
        """Return the settings with every value fixed, for so many training images a class.

        Levels above `none` flip, and do not shift, since their crops do.
        """
        level = self.level or "none"
        if level == "auto":
            level = "medium" if images_a_class < MEDIUM_BELOW else "light"
        shift = self.shift if self.shift is not None else 0.1 if level == "none" else 0.0
        return AugmentConfig(level=level, shift=shift, flip=level != "none" if self.flip is None else self.flip)


ClassWeights = Literal["auto", "none", "sqrt", "balanced"]
Precision = Literal["auto", "fp32", "bf16"]


AUTO = "auto"
"""Value of `space` and of `train.init` for a choice by what is installed."""
INIT_FORMS = (AUTO, *NETWORK_FORMS)
"""Values of `train.init` that name a pretrained network, for messages; others are paths."""
WITH_BOTH_ENDS = ("sandwich", "sandwich-labels", "alpha-divergence", "delayed-shrinking")
"""Recipes whose steps train the largest and the smallest subnet."""
NEVER_LARGEST = ("within-budgets", "from-pretrained")
"""Recipes that train the largest network only if it is within the budgets."""


_PRETRAINED_DEFAULTS: Mapping[str, Any] = {
    "batch_size": 32,
    "subnets_per_step": 2,
    "learning_rate": 4e-3,
    "layer_decay": 0.9,
    "warmup": 0.1,
    "label_smoothing": 0.1,
}
RECIPE_DEFAULTS = {"from-pretrained": _PRETRAINED_DEFAULTS, "teacher-first": _PRETRAINED_DEFAULTS}
"""Defaults of `train` by recipe, where they differ from those of the fields."""


class TrainConfig(Section):
    """How the supernet is trained."""

    recipe: Literal[
        "all-sizes",
        "within-budgets",
        "from-pretrained",
        "teacher-first",
        "uniform",
        "sandwich",
        "sandwich-labels",
        "alpha-divergence",
        "delayed-shrinking",
        "progressive-shrinking",
    ] = "all-sizes"
    init: str | None = Field(None, min_length=1)
    kernel_transforms: bool = False
    epochs: float | None = Field(None, ge=0)
    batch_size: int = Field(64, gt=1)
    subnets_per_step: int = Field(3, ge=1)
    at_a_time: int | None = Field(None, ge=1)
    optimizer: Literal["adamw", "sgd"] = "adamw"
    momentum: float = Field(0.9, ge=0, lt=1)
    learning_rate: float = Field(2e-3, gt=0)
    layer_decay: float = Field(1.0, gt=0, le=1)
    weight_decay: float = Field(0.02, ge=0)
    warmup: float = Field(0.05, ge=0, lt=1)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    class_weights: ClassWeights = "auto"
    clip_norm: float | None = Field(None, gt=0)
    average: float | None = Field(None, gt=0, lt=1)
    zero_last_norm: bool = False
    validations: int = Field(5, ge=1, le=1000)
    patience: int | None = Field(None, ge=1)
    precision: Precision = "auto"
    tensorboard: bool = False
    checkpoint_seconds: float = Field(60.0, ge=0)
    augment: AugmentConfig = AugmentConfig()
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @model_validator(mode="wrap")
    @classmethod
    def _defaults_of_the_recipe(cls, value: Any, validated: ModelWrapValidatorHandler[TrainConfig]) -> TrainConfig:
        """Default to the recipe `from-pretrained` where `init` names a network, and to the settings of the recipe."""
        if not isinstance(value, dict):
            return validated(value)
        # In a RunConfig, budgets choose the default for other weights.
        recipe = value.get("recipe") or ("from-pretrained" if names_network(value.get("init")) else "all-sizes")
        defaults = RECIPE_DEFAULTS.get(recipe, {}) if isinstance(recipe, str) else {}
        train = validated({**defaults, **value, "recipe": recipe})
        # Defaults of a recipe are not stated by the user, see `without_recipe`.
        train.model_fields_set.difference_update(set(defaults) - set(value))
        return train

    def without_recipe(self, recipe: str) -> TrainConfig:
        """Return the settings with another recipe, and with the defaults of fields in place of the former recipe's."""
        names = RECIPE_DEFAULTS.get(self.recipe, {}).keys() - self.model_fields_set
        return self.model_copy(
            update={name: TrainConfig.model_fields[name].default for name in names} | {"recipe": recipe}
        )

    @field_validator("init", mode="before")
    @classmethod
    def _path_as_text(cls, init: Any) -> Any:
        return str(init) if isinstance(init, Path) else init

    @field_validator("epochs")
    @classmethod
    def _weights_from_somewhere(cls, epochs: float | None, info: ValidationInfo) -> float | None:
        init = info.data.get("init")
        if epochs == 0 and init is None:
            raise ValueError("expected a number above 0 (0 goes with train.init, whose weights are then taken), got 0")
        if epochs == 0 and names_network(init):
            raise ValueError(
                f"expected a number above 0: {init} has another classifier, and one for the classes of these images "
                "must be trained; got 0"
            )
        return epochs

    def for_images(self, images: int, num_classes: int) -> TrainConfig:
        """Return the settings with every value of the augmentation fixed, for so many training images."""
        return self.model_copy(update={"augment": self.augment.for_images(images / num_classes)})

    @model_validator(mode="after")
    def _pretrained_norms(self) -> TrainConfig:
        if self.zero_last_norm and self.from_network:
            raise ValueError("zero_last_norm is for random weights: leave it out with a pretrained network")
        return self

    @model_validator(mode="after")
    def _both_ends(self) -> TrainConfig:
        if self.subnets_per_step < 2 and self.recipe in WITH_BOTH_ENDS:
            raise ValueError(
                f"expected subnets_per_step of at least 2 with {self.recipe}: the largest and the smallest"
            )
        return self

    @property
    def from_network(self) -> bool:
        """Return whether `init` names a pretrained network, or leaves the choice of one to edgenas."""
        return names_network(self.init)

    @property
    def init_path(self) -> Path | None:
        """Return the run folder or checkpoint that `init` names; None where it names none."""
        return None if self.init is None or self.from_network else Path(self.init)


def names_network(init: object) -> bool:
    """Return whether a value of `train.init` names a pretrained network, or leaves the choice of one to edgenas."""
    return isinstance(init, str) and (init == AUTO or is_network_name(init))
