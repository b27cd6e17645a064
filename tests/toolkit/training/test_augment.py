"""Augmentation moves and mirrors, and nothing else."""

from typing import get_args

import pytest
import torch

from cnntk.models.zoo import Augmentation, Recipe
from cnntk.training.augment import AUGMENTATIONS, augment
from cnntk.training.seeding import Purpose, generator

BATCH = torch.randint(0, 256, (16, 3, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def draws(name: str, count: int = 40) -> list[torch.Tensor]:
    random = generator(Purpose.AUGMENT, 0)
    return [augment(BATCH, (name,), random) for _ in range(count)]


def shifted(dy: int, dx: int) -> torch.Tensor:
    """The batch moved, its edges repeated, by padding and cutting."""
    padded = torch.nn.functional.pad(BATCH.float(), (1, 1, 1, 1), mode="replicate").to(torch.uint8)
    return padded[:, :, 1 + dy : 29 + dy, 1 + dx : 29 + dx]


def test_shift_moves_by_at_most_one_pixel_of_28() -> None:
    ways = [shifted(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    offsets = [next(i for i, way in enumerate(ways) if torch.equal(way, drawn)) for drawn in draws("shift")]
    assert set(offsets) == set(range(9))


def test_flip_mirrors_about_half_of_the_images() -> None:
    mirrored = []
    for drawn in draws("flip"):
        same = (drawn == BATCH).flatten(1).all(1)
        assert ((drawn == BATCH.flip(3)).flatten(1).all(1) | same).all()
        mirrored.append(~same)
    assert 0.45 < torch.cat(mirrored).float().mean() < 0.55


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_type_and_original_stay(name: str) -> None:
    before = BATCH.clone()
    assert all(drawn.dtype == torch.uint8 and drawn.shape == BATCH.shape for drawn in draws(name, 5))
    assert torch.equal(BATCH, before)


def test_none() -> None:
    assert augment(BATCH, (), generator(Purpose.AUGMENT, 0)) is BATCH


def test_zoom_keeps_the_center_where_it_is() -> None:
    """A centered disc stays centered, and is drawn at half its size up to a tenth larger."""
    axis = torch.arange(28) - 13.5
    disc = ((axis[:, None] ** 2 + axis[None] ** 2) < 10**2).to(torch.uint8)[None, None] * 255
    random = generator(Purpose.AUGMENT, 0)
    drawn = torch.cat([augment(disc, ("zoom",), random) for _ in range(60)]).float()
    ratio = drawn.sum((1, 2, 3)) / disc.sum()
    assert 0.2 < ratio.min() < 0.4
    assert 1.0 < ratio.max() < 1.25
    weight = drawn.sum((1, 2, 3))
    for along in (drawn.sum((1, 2)), drawn.sum((1, 3))):
        assert ((along * axis).sum(1) / weight).abs().max() < 0.6


def test_recipes_may_name_every_augmentation() -> None:
    assert get_args(Augmentation) == tuple(AUGMENTATIONS)
    everything = tuple(AUGMENTATIONS)
    assert Recipe("sgd", 0.1, 0.0, 0.9, 1, 1, "constant", everything).augment == everything
    with pytest.raises(ValueError, match=r"augment = 'rotate'; choose one of shift, zoom, flip"):
        Recipe("sgd", 0.1, 0.0, 0.9, 1, 1, "constant", ("rotate",))
