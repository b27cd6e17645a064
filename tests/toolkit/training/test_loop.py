"""The loop: what it steps over, what it reports, and when it refuses to go on."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cnntk.data import Split, prepare
from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.runtime.errors import UsageError
from cnntk.runtime.preprocessing.preprocess import normalize
from cnntk.training.batches import Batches
from cnntk.training.loop import Loop, Normalize, TrainingDiverged, make_optimizer
from cnntk.training.options import Settings
from cnntk.training.progress import TrainProgress

SETTINGS = Settings(3, 16, "sgd", 0.1, 0.0, 0.9, "constant", (), "xavier", 0)
GRAY = Preprocessing("gray", 12, 12, mean=(0.4,), std=(0.3,))


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(144, 3))


def loop_of(split: Split, module: nn.Module, settings: Settings = SETTINGS) -> Loop:
    cpu = torch.device("cpu")
    train, test = (Batches.of(d, prepare(d.images, GRAY), cpu) for d in (split.train, split.test))
    return Loop(module, train, test, GRAY, settings)


class Seen(nn.Module):
    """Answers with what it learns, and keeps the images that it was trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.images = linear(), []

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self.images.append(images)
        return self.head(images)


def test_an_epoch_sees_every_image_once_in_another_order(split: Split) -> None:
    seen = Seen()
    loop = loop_of(split, seen)
    orders = []
    for epoch in (1, 2):
        seen.images.clear()
        loop.run_epoch(epoch, TrainProgress())
        assert [len(batch) for batch in seen.images] == [16] * loop.steps == [16] * 6
        orders.append(torch.cat(seen.images).sum((1, 2, 3)))
    assert torch.equal(*(order.sort().values for order in orders))
    assert not torch.equal(*orders)


def test_an_epoch_depends_on_its_number_and_the_seed_alone(split: Split) -> None:
    def weights(*epochs: int, seed: int = 0) -> Tensor:
        module = linear()
        loop = loop_of(split, module, replace(SETTINGS, seed=seed))
        for epoch in epochs:
            loop.run_epoch(epoch, TrainProgress())
        return module.state_dict()["1.weight"]

    assert torch.equal(weights(1, 2), weights(1, 2))
    assert not torch.equal(weights(1, 2), weights(1, 1))
    assert not torch.equal(weights(1, 2), weights(1, 2, seed=1))


def test_the_loss_and_the_accuracies_are_those_of_the_answers(split: Split) -> None:
    still = loop_of(split, linear(), replace(SETTINGS, learning_rate=0.0))
    result = still.run_epoch(1, TrainProgress())
    pixels, labels = next(still._train.take((torch.arange(96),)))
    logits = still.module(Normalize(GRAY, torch.device("cpu"))(pixels)).detach()
    assert result.loss == pytest.approx(float(nn.functional.cross_entropy(logits, labels)), rel=1e-5)
    assert result.train_accuracy == int((logits.argmax(1) == labels).sum()) / 96
    loop = loop_of(split, linear())
    results = [loop.run_epoch(epoch, TrainProgress()) for epoch in (1, 2, 3)]
    assert results[-1].loss < results[0].loss
    assert results[-1].accuracy > max(0.9, result.accuracy)


@pytest.mark.parametrize(("images", "steps"), [(96, 6), (97, 6), (98, 7), (1 + 2, 1)])
def test_a_last_batch_of_one_is_left_out(make_split: Callable[..., Split], images: int, steps: int) -> None:
    assert loop_of(make_split(train=images), linear()).steps == steps


def test_the_learning_rate_follows_the_schedule(split: Split) -> None:
    loop = loop_of(split, linear(), replace(SETTINGS, schedule="cosine"))
    rates = []
    for epoch in (1, 2, 3):
        loop.run_epoch(epoch, TrainProgress())
        rates.append(loop.optimizer.param_groups[0]["lr"])
    assert 0.1 > rates[0] > rates[1] > rates[2] >= 0


@pytest.mark.parametrize("learning", [True, False], ids=["while it learns", "on the test images"])
def test_what_is_not_finite_ends_it(split: Split, learning: bool) -> None:
    class Infinite(Seen):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) / (0.0 if self.training is learning else 1.0)

    what = "the loss is nan" if learning else "the logits of test images are not finite"
    message = rf"epoch 1: {what}; start again with a lower --learning-rate than 0\.1 and --force"
    with pytest.raises(TrainingDiverged, match=message):
        loop_of(split, Infinite()).run_epoch(1, TrainProgress())


def test_nothing_to_train() -> None:
    with pytest.raises(UsageError, match="Sequential: has no parameter to train"):
        make_optimizer(linear().requires_grad_(False), SETTINGS)
    assert isinstance(make_optimizer(linear(), SETTINGS), torch.optim.SGD)
    assert isinstance(make_optimizer(linear(), replace(SETTINGS, optimizer="adamw")), torch.optim.AdamW)


def test_normalize_is_the_runtimes() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 12, 12, 1), dtype=np.uint8)
    actual = Normalize(GRAY, torch.device("cpu"))(torch.from_numpy(pixels).permute(0, 3, 1, 2)).numpy()
    np.testing.assert_array_equal(actual, normalize(pixels, GRAY))
