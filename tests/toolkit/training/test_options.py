"""Options are checked at once and completed by the recipe."""

from collections.abc import Callable
from typing import Any, get_args

import pytest

from cnntk.data import Split
from cnntk.models.zoo import Recipe, find
from cnntk.runtime.errors import UsageError
from cnntk.training.augment import AUGMENTATIONS
from cnntk.training.options import Augmentation, Schedule, TrainOptions, settings_for
from cnntk.training.schedule import SCHEDULES

RECIPE = Recipe("sgd", 0.1, 0.01, 0.9, 3, 32, "cosine", ("shift", "flip"), "normal")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"epochs": 0}, "epochs = 0: expected at least 1"),
        ({"batch_size": 0}, "batch_size = 0"),
        ({"image_size": -1}, "image_size = -1"),
        ({"learning_rate": -1.0}, "learning_rate = -1.0: expected at least 0"),
        ({"learning_rate": float("nan")}, "learning_rate = nan"),
        ({"weight_decay": float("inf")}, "weight_decay = inf"),
        ({"dropout": 1.5}, "dropout = 1.5: expected 0 to 1"),
        ({"seed": -1}, "seed = -1"),
        ({"optimizer": "adam"}, "optimizer = 'adam': expected adamw or sgd"),
        ({"schedule": "step"}, "schedule = 'step': expected one-cycle or cosine or constant"),
        ({"init": "zero"}, "init = 'zero': expected xavier or normal"),
        ({"augment": ("shift", "rotate")}, "augment = 'rotate': expected shift or zoom or flip"),
    ],
    ids=str,
)
def test_wrong_values(option: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TrainOptions(**option)


def test_resume_and_force_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        TrainOptions(resume=True, force=True)


def test_augmentations() -> None:
    assert TrainOptions().augmentations is None
    assert TrainOptions(augment=("none",)).augmentations == TrainOptions(augment=()).augmentations == ()
    assert TrainOptions(augment=("flip", "shift", "flip")).augmentations == ("flip", "shift")
    with pytest.raises(UsageError, match="augment = 'none' excludes all others"):
        TrainOptions(augment=("none", "flip"))


def test_the_choices_are_what_is_implemented() -> None:
    assert {*AUGMENTATIONS, "none"} == set(get_args(Augmentation))
    assert set(SCHEDULES) == set(get_args(Schedule))


def test_the_recipe_fills_in(split: Split) -> None:
    settings = settings_for(TrainOptions(epochs=5, learning_rate=0.0, augment=()), RECIPE, split)
    assert (settings.epochs, settings.learning_rate, settings.augment) == (5, 0.0, ())
    assert (settings.optimizer, settings.momentum, settings.init) == ("sgd", 0.9, "normal")


@pytest.mark.parametrize(("images", "epochs"), [(32, 100), (320, 100), (32 * 50, 20), (32 * 500, 3)])
def test_small_data_gets_more_epochs(make_split: Callable[..., Split], images: int, epochs: int) -> None:
    assert settings_for(TrainOptions(), RECIPE, make_split(train=images)).epochs == epochs


def test_handwriting_is_not_mirrored(make_split: Callable[..., Split]) -> None:
    photos, writing = make_split(), make_split(handwriting=True)
    assert settings_for(TrainOptions(), RECIPE, photos).augment == ("shift", "flip")
    assert settings_for(TrainOptions(), RECIPE, writing).augment == ("shift",)
    assert settings_for(TrainOptions(augment=("flip",)), RECIPE, writing).augment == ("flip",), (
        "an explicit choice"
    )


def test_recipes_of_the_zoo_are_valid() -> None:
    recipe = find("vgg11").recipe
    TrainOptions(
        optimizer=recipe.optimizer, schedule=recipe.schedule, init=recipe.init, augment=recipe.augment
    )
