"""Models that look broken and are sound: they must pass, and nothing in them may be repaired."""

from __future__ import annotations

from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import nn
from traps.broken import Body

SOUND: dict[str, type[nn.Module]] = {}
Constructed = TypeVar("Made", bound=type[nn.Module])


def sound(make: Constructed) -> Constructed:
    SOUND[make.__name__] = make
    return make


@sound
class DropoutModules(Body):
    """Dropout is identity at inference, and torch captures none."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Sequential(nn.Dropout(0.5), nn.Dropout2d(0.1), nn.AlphaDropout(0.2))

    def forward(self, x):
        return self.linear(self.drop(self.features(x)).flatten(1))


@sound
class DropoutByName(Body):
    class Dropout(nn.Module):
        def forward(self, x):
            return x + 0

    def __init__(self) -> None:
        super().__init__()
        self.dropout = self.Dropout()

    def forward(self, x):
        return self.dropout(self.logits(x))


@sound
class FixedMask(Body):
    """A pruned layer: the mask was drawn once."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer(
            "mask", (torch.rand(128, generator=torch.Generator().manual_seed(0)) > 0.5).float()
        )

    def forward(self, x):
        return self.linear(self.features(x).flatten(1) * self.mask / 0.5)


@sound
class SoftmaxHead(Body):
    def forward(self, x):
        return F.softmax(self.logits(x), dim=1)


@sound
class LogSoftmaxHead(Body):
    def forward(self, x):
        return F.log_softmax(self.logits(x), dim=1)


@sound
class AttentionAndSoftmax(Body):
    """Two softmaxes, neither upon the other."""

    def forward(self, x):
        f = self.features(x).flatten(2)
        attention = F.softmax(f.transpose(1, 2) @ f / 4, dim=-1)
        return F.softmax(self.linear((f @ attention).flatten(1)), dim=1)


@sound
class SharesOfPositives(Body):
    """Divided by a sum, but nothing was exponentiated."""

    def forward(self, x):
        p = F.relu(self.logits(x)) + 1
        return p / p.sum(1, keepdim=True)


@sound
class ExponentialActivation(Body):
    def forward(self, x):
        return self.linear(torch.exp(-(self.features(x).flatten(1) ** 2)))


@sound
class LogOfSomethingElse(Body):
    def forward(self, x):
        return self.linear(torch.log1p(self.features(x)).flatten(1))


@sound
class LogSumExpPooling(Body):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 5)

    def forward(self, x):
        return self.linear(torch.logsumexp(self.features(x).flatten(2), dim=2))


@sound
class NormalizedPerImage(Body):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.Sequential(nn.GroupNorm(2, 8), nn.InstanceNorm2d(8), nn.LayerNorm(8))

    def forward(self, x):
        return self.linear(F.max_pool2d(self.norm(self.conv(x)), 2).flatten(1))


@sound
class StandardisedImageByImage(Body):
    def forward(self, x):
        mean, std = x.mean((1, 2, 3), keepdim=True), x.std((1, 2, 3), keepdim=True)
        return self.logits((x - mean) / (std + 1e-3))


@sound
class RunningStatistics(Body):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(8)
        self.norm.running_mean += 0.5
        self.norm.running_var *= 2
        self.eval()

    def forward(self, x):
        return self.linear(F.max_pool2d(F.relu(self.norm(self.conv(x))), 2).flatten(1))


@sound
class ImagesThroughTheBatchAxis(Body):
    """Quarters of an image take the batch axis for a while, and come back."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8 * 16, 5)

    def forward(self, x):
        quarters = F.pixel_unshuffle(x, 2).unflatten(1, (3, 4)).transpose(1, 2).flatten(0, 1)
        return self.linear(F.relu(self.conv(quarters)).unflatten(0, (-1, 4)).mean(1).flatten(1))


@sound
class ManyLabels(Body):
    def forward(self, x):
        return torch.sigmoid(self.logits(x))


@sound
class Regression(Body):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(128, 1)


@sound
class AllZeros(Body):
    def __init__(self) -> None:
        super().__init__()
        for p in self.parameters():
            nn.init.zeros_(p)


@sound
class SmallAnswers(Body):
    """Logits of about 1e-10: parity is relative to their scale."""

    def forward(self, x):
        return self.logits(x) * 1e-10


@sound
class TwoLayersThatMayNotMerge(Body):
    """A wide layer behind a narrow one: one layer instead would be dearer."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Sequential(nn.Linear(128, 2), nn.Linear(2, 100))
