"""Models that today's exporters take without a word, and that are wrong on the device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BROKEN: dict[str, Trap] = {}


@dataclass(frozen=True)
class Trap:
    """A broken model.

    Attributes:
        make: builds it, for 3x8x8 images.
        outcome: ``repaired`` or ``refused``.
        reason: part of the message, or of the repair's line.
    """

    make: type[nn.Module]
    outcome: str
    reason: str


def trap(outcome: str, reason: str):
    def remember(make: type[nn.Module]) -> type[nn.Module]:
        BROKEN[make.__name__] = Trap(make, outcome, reason)
        return make

    return remember


class Body(nn.Module):
    """A small classifier; subclasses break it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.linear = nn.Linear(8 * 16, 5)

    def features(self, x: Tensor) -> Tensor:
        return F.max_pool2d(F.relu(self.conv(x)), 2)

    def logits(self, x: Tensor) -> Tensor:
        return self.linear(self.features(x).flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(x)


# Softmax


@trap("repaired", "Softmax")
class ExpSumSoftmax(Body):
    """The notes' own first softmax: NaN at large logits."""

    def forward(self, x):
        e = torch.exp(self.logits(x))
        return e / e.sum(1, keepdim=True)


@trap("repaired", "Softmax")
class ExpSumSoftmaxLastAxis(Body):
    def forward(self, x):
        e = self.logits(x).exp()
        return e / torch.sum(e, dim=-1, keepdim=True)


@trap("repaired", "Softmax")
class ExpSumSoftmaxUnsqueezed(Body):
    def forward(self, x):
        e = torch.exp(self.logits(x))
        return e / e.sum(1).unsqueeze(1)


@trap("repaired", "Softmax")
class ExpTimesReciprocal(Body):
    def forward(self, x):
        e = torch.exp(self.logits(x))
        return e * torch.reciprocal(e.sum(1, keepdim=True))


@trap("repaired", "LogSoftmax")
class LogOfSoftmax(Body):
    """Minus infinity where a probability underflows."""

    def forward(self, x):
        return torch.log(F.softmax(self.logits(x), dim=1))


@trap("repaired", "LogSoftmax")
class LogOfExpSumSoftmax(Body):
    def forward(self, x):
        e = torch.exp(self.logits(x))
        return torch.log(e / e.sum(1, keepdim=True))


@trap("repaired", "Softmax")
class ExpSumSoftmaxInside(Body):
    """A gate by a hand-written softmax, in the middle of the network."""

    def forward(self, x):
        f = self.features(x)
        e = torch.exp(f.mean((2, 3)))
        gate = e / e.sum(1, keepdim=True)
        return self.linear((f * gate[:, :, None, None]).flatten(1))


@trap("refused", "oftmax of the Softmax")
class SoftmaxUponSoftmax(Body):
    def forward(self, x):
        return F.softmax(F.softmax(self.logits(x), dim=1), dim=1)


@trap("refused", "oftmax of the Softmax")
class LogSoftmaxUponSoftmax(Body):
    """What cross_entropy sees of a network that ends in a softmax."""

    def forward(self, x):
        return F.log_softmax(F.softmax(self.logits(x), dim=1), dim=1)


@trap("refused", "batch")
class SoftmaxOverTheBatch(Body):
    def forward(self, x):
        return F.softmax(self.logits(x), dim=0)


# Dropout


@trap("repaired", "ropout")
class DropoutLeftOn(Body):
    """F.dropout is in training mode unless it is told otherwise."""

    def forward(self, x):
        return self.linear(F.dropout(self.features(x).flatten(1), 0.5))


@trap("repaired", "random mask")
class Dropout2dLeftOn(Body):
    def forward(self, x):
        return self.linear(F.dropout2d(self.features(x), 0.5, training=True).flatten(1))


@trap("repaired", "random mask")
class HandWrittenDropout(Body):
    """The notes' dropout_layer."""

    def forward(self, x):
        h = self.features(x).flatten(1)
        mask = (torch.rand(h.shape) > 0.5).float()
        return self.linear(mask * h / (1.0 - 0.5))


@trap("repaired", "random mask")
class HandWrittenDropoutLike(Body):
    def forward(self, x):
        h = self.features(x).flatten(1)
        return self.linear(h * (torch.rand_like(h) < 0.8) / 0.8)


@trap("repaired", "random mask")
class HandWrittenDropoutScaledMask(Body):
    def forward(self, x):
        h = self.features(x).flatten(1)
        mask = (torch.rand_like(h) >= 0.25).to(h.dtype) / 0.75
        return self.linear(h * mask)


@trap("repaired", "random mask")
class HandWrittenDropoutWhere(Body):
    def forward(self, x):
        h = self.features(x).flatten(1)
        return self.linear(torch.where(torch.rand_like(h) > 0.5, h * 2.0, torch.zeros_like(h)))


@trap("repaired", "random mask")
class BernoulliDropout(Body):
    def forward(self, x):
        h = self.features(x).flatten(1)
        return self.linear(h * torch.bernoulli(torch.full_like(h, 0.8)) / 0.8)


@trap("refused", "its mean is")
class DropoutWithoutScaling(Body):
    """Its mean is not what the network was trained with: nobody can say what was meant."""

    def forward(self, x):
        h = self.features(x).flatten(1)
        return self.linear(h * (torch.rand_like(h) > 0.5).float())


@trap("refused", "its mean is")
class DropoutWithTheWrongScale(Body):
    def forward(self, x):
        h = self.features(x).flatten(1)
        return self.linear(h * (torch.rand_like(h) > 0.5).float() / 0.8)


@trap("repaired", "training mode")
class LeftInTrainingMode(Body):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(8), nn.Dropout(0.5)
        self.train()

    def forward(self, x):
        return self.linear(F.max_pool2d(self.drop(F.relu(self.norm(self.conv(x)))), 2).flatten(1))


# Randomness


@trap("refused", "at random")
class NoiseAtInference(Body):
    def forward(self, x):
        return self.logits(x + 0.1 * torch.randn_like(x))


@trap("refused", "at random")
class RandomFeatures(Body):
    def forward(self, x):
        return self.logits(x) + torch.rand(1)


@trap("refused", "at random")
class Gumbel(Body):
    def forward(self, x):
        return F.gumbel_softmax(self.logits(x), tau=1.0, dim=1)


# Batch


@trap("refused", "rest of the batch")
class NormalisedByTheBatch(Body):
    """BatchNorm without running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(8, track_running_stats=False)

    def forward(self, x):
        return self.linear(F.max_pool2d(self.norm(self.conv(x)), 2).flatten(1))


@trap("refused", "batch")
class BatchNormForcedIntoTraining(Body):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x):
        n = self.norm
        h = F.batch_norm(self.conv(x), n.running_mean, n.running_var, n.weight, n.bias, training=True)
        return self.linear(F.max_pool2d(h, 2).flatten(1))


@trap("refused", "rest of the batch")
class MeanOverTheBatch(Body):
    def forward(self, x):
        return self.logits(x - x.mean(0, keepdim=True))


@trap("refused", "rest of the batch")
class ScaledByTheLargestOfTheBatch(Body):
    def forward(self, x):
        return self.logits(x / x.abs().max().clamp(min=1.0))


@trap("refused", "rest of the batch")
class StandardisedOverEverything(Body):
    def forward(self, x):
        return self.logits((x - x.mean()) / (x.std() + 1e-3))


@trap("refused", "rest of the batch")
class SortedAcrossTheBatch(Body):
    def forward(self, x):
        return self.logits(x.sort(dim=0).values)


@trap("refused", "batch")
class BatchBakedIn(Body):
    def forward(self, x):
        return self.linear(self.features(x).reshape(2, -1))


# Weights


@trap("refused", "linear.bias")
class NanWeight(Body):
    def __init__(self) -> None:
        super().__init__()
        with torch.no_grad():
            self.linear.bias[2] = float("nan")


@trap("refused", "conv.weight")
class InfiniteWeight(Body):
    def __init__(self) -> None:
        super().__init__()
        with torch.no_grad():
            self.conv.weight[3, 1] = float("inf")


# Capture


@trap("refused", "broken.py")
class BranchOnData(Body):
    def forward(self, x):
        if x.sum() > 0:
            return self.logits(x)
        return self.logits(-x)


@trap("refused", "broken.py")
class LengthDependsOnData(Body):
    def forward(self, x):
        return self.logits(x)[:, : int(x[0, 0, 0, 0].item()) + 2]


@trap("refused", "keeps state")
class CountsItsCalls(Body):
    """A state that grows: the first answer is not the second."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return self.logits(x) + self.calls
