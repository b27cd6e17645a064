"""The training loop: epochs of steps, and the accuracy after each epoch."""

from __future__ import annotations

import math
import time
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, AdamW, Optimizer

from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.runtime.errors import CnntkError, UsageError
from cnntk.training.augment import augment
from cnntk.training.batches import Batches
from cnntk.training.options import Settings
from cnntk.training.progress import TrainProgress
from cnntk.training.report import EpochResult
from cnntk.training.schedule import learning_rate_at
from cnntk.training.seeding import Purpose, generator, seeded

__all__ = ["Loop", "Normalize", "TrainingDiverged", "make_optimizer"]

_REPORT_EVERY = 16  # steps between two readings of the loss: reading it makes a GPU wait
_FIRST_REPORTS = (1, 2, 4, 8)  # steps of large networks take long
_TEST_BATCH = 512


class TrainingDiverged(CnntkError):  # noqa: N818 - named for what is wrong, like ArtifactCorrupt
    """The loss or the logits are no longer finite; the message says where and what to lower."""

    exit_status = 1


class Loop:
    """Trains a network, epoch by epoch.

    All randomness of an epoch comes from the seed and its number, so an epoch gives the same weights
    whether the ones before it ran in this process or in one that was killed.

    Attributes:
        module: Network, on the device.
        optimizer: Optimizer of its trainable parameters.
        steps: Number of steps in an epoch.
    """

    def __init__(
        self,
        module: nn.Module,
        train: Batches,
        test: Batches,
        preprocessing: Preprocessing,
        settings: Settings,
    ) -> None:
        self.module = module
        self.optimizer = make_optimizer(module, settings)
        self._train, self._test, self._settings = train, test, settings
        self._device = train.labels.device
        self._normalize = Normalize(preprocessing, self._device)
        self.steps = len(self._order(epoch=1))

    def run_epoch(self, epoch: int, progress: TrainProgress) -> EpochResult:
        """Trains for one epoch, whose number counts from 1, and measures the accuracy on the test images.

        Raises:
            TrainingDiverged: The loss or a logit is not finite.
            DataError: An image can't be read.
        """
        start = time.perf_counter()
        with seeded(Purpose.DROPOUT, self._settings.seed, epoch, self._device):
            loss, train_accuracy = self._train_epoch(epoch, progress)
        accuracy = self.accuracy(epoch)
        return EpochResult(epoch, loss, train_accuracy, accuracy, round(time.perf_counter() - start, 3))

    @torch.no_grad()
    def accuracy(self, epoch: int) -> float:
        """Share of the test images that are classified correctly, 0 to 1."""
        self.module.eval()
        correct = torch.zeros((), dtype=torch.int64, device=self._device)
        for pixels, labels in self._test.take(torch.split(torch.arange(len(self._test)), _TEST_BATCH)):
            logits = self._logits(pixels)
            if not torch.isfinite(logits).all():
                raise self._diverged("the logits of test images are not finite", epoch)
            correct += (logits.argmax(1) == labels).sum()
        return int(correct) / len(self._test)

    def _train_epoch(self, epoch: int, progress: TrainProgress) -> tuple[float, float]:
        """Trains on each image once; returns mean loss and accuracy, each image scored when it was used."""
        self.module.train()
        random = generator(Purpose.AUGMENT, self._settings.seed, epoch)
        loss_sum = torch.zeros((), dtype=torch.float64, device=self._device)
        correct = torch.zeros((), dtype=torch.int64, device=self._device)
        seen = 0
        for step, (pixels, labels) in enumerate(self._train.take(self._order(epoch)), start=1):
            self._set_learning_rate((epoch - 1) * self.steps + step - 1)
            logits = self._logits(augment(pixels, self._settings.augment, random))
            loss = F.cross_entropy(logits, labels)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            loss_sum += loss.detach() * len(labels)
            correct += (logits.detach().argmax(1) == labels).sum()
            seen += len(labels)
            if step in _FIRST_REPORTS or step % _REPORT_EVERY == 0 or step == self.steps:
                mean_loss = float(loss_sum) / seen
                if not math.isfinite(mean_loss):
                    raise self._diverged(f"the loss is {mean_loss}", epoch)
                progress.step(step, mean_loss, int(correct) / seen)
        return float(loss_sum) / seen, int(correct) / seen

    def _diverged(self, reason: str, epoch: int) -> TrainingDiverged:
        rate = self._settings.learning_rate
        return TrainingDiverged(
            f"epoch {epoch}: {reason}; start again with a lower --learning-rate than {rate:g} and --force"
        )

    def _order(self, epoch: int) -> tuple[Tensor, ...]:
        """Indices of each batch, without a last batch of one image, which batch normalization rejects."""
        random = generator(Purpose.SHUFFLE, self._settings.seed, epoch)
        order = torch.split(torch.randperm(len(self._train), generator=random), self._settings.batch_size)
        return order[:-1] if len(order) > 1 and len(order[-1]) == 1 < len(order[0]) else order

    def _set_learning_rate(self, step: int) -> None:
        s = self._settings
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(s.schedule, s.learning_rate, step, s.epochs * self.steps)

    def _logits(self, pixels: Tensor) -> Tensor:
        with _mixed_precision(self._device):
            logits: Tensor = self.module(self._normalize(pixels))
        return logits.float()


def make_optimizer(module: nn.Module, settings: Settings) -> Optimizer:
    """Creates the optimizer of the trainable parameters.

    Raises:
        UsageError: There are none.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    if not parameters:
        raise UsageError(f"{type(module).__name__}: has no parameter to train")
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "sgd":
        return SGD(parameters, lr=rate, weight_decay=decay, momentum=settings.momentum)
    return AdamW(parameters, lr=rate, weight_decay=decay, fused=True)


class Normalize:
    """`cnntk.runtime.preprocessing.preprocess.normalize` on the device, in the same float32 arithmetic."""

    def __init__(self, p: Preprocessing, device: torch.device) -> None:
        factor = torch.tensor([p.scale / s for s in p.std], device=device)
        offset = torch.tensor([-m / s for m, s in zip(p.mean, p.std, strict=True)], device=device)
        self._factor, self._offset = factor.view(-1, 1, 1), offset.view(-1, 1, 1)

    def __call__(self, pixels: Tensor) -> Tensor:
        return pixels.float() * self._factor + self._offset


def _mixed_precision(device: torch.device) -> AbstractContextManager[None]:
    enabled = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)
