from __future__ import annotations

import copy
import json
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from cnntk.models.alexnet import alexnet
from cnntk.models.lenet import lenet
from cnntk.models.nin import nin
from cnntk.models.transfer import NewHead, with_new_head, without_head, zoo_with_new_head
from cnntk.models.vgg import vgg, vgg11
from cnntk.models.zoo import build
from cnntk.runtime.artifact.spec import Network
from cnntk.runtime.errors import UsageError


class Pooled(nn.Module):
    """No Sequential, and a body for images of any size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.norm = nn.BatchNorm2d(6)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.norm(self.conv(x))).amax((2, 3))


class Scaled(nn.Module):
    """Its constant is no buffer, so it can't run on the meta device."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.scale = torch.ones(2, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return (self.conv(x) * self.scale).mean((2, 3))


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


def steps(network: nn.Module, count: int = 3) -> None:
    torch.manual_seed(0)
    optimizer = torch.optim.SGD((p for p in network.parameters() if p.requires_grad), lr=0.5)
    for _ in range(count):
        loss = nn.functional.cross_entropy(network(torch.rand(8, 3, 9, 9)), torch.arange(8) % 2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def same(left: nn.Module, right: nn.Module) -> bool:
    pairs = zip(left.state_dict().items(), right.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_body_does_not_move_and_another_does(frozen: bool) -> None:
    network = with_new_head(Pooled(), 2, frozen=frozen)
    before = copy.deepcopy(network)
    steps(network.train())
    assert same(network.body, before.body) is frozen
    assert not same(network.head, before.head)
    assert (network.body.norm.num_batches_tracked == 0) == frozen


def test_a_frozen_body_stays_in_evaluation_mode() -> None:
    network = nn.Sequential(with_new_head(Pooled(), 2, frozen=True)).train()
    images = torch.rand(2, 3, 9, 9)
    assert network[0].head.training
    assert not any(m.training for m in network[0].body.modules())
    assert torch.equal(network(images), network(images))
    thawed = nn.Sequential(with_new_head(Pooled(), 2)).train()
    assert all(m.training for m in thawed.modules())
    assert not torch.equal(thawed(images), thawed(images))
    assert not any(m.training for m in thawed.eval().modules())


@pytest.mark.parametrize(
    ("make", "width"),
    [
        (lenet, 84),
        (lambda: lenet(image_size=(224, 224)), 84),
        (alexnet, 4096),
        (vgg11, 4096),
        (nin, 384),
        (lambda: nn.Sequential(Pooled(), nn.Linear(6, 2)), 6),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 30), nn.ReLU(), nn.Linear(30, 10)), 30),
    ],
)
def test_the_features_are_determined_without_a_shape(make: Callable[[], nn.Sequential], width: int) -> None:
    with torch.device("meta"):
        network = with_new_head(without_head(make()), 5)
    assert network.head.in_features == width
    assert network.head.weight.is_meta  # where the body is


def test_the_features_of_an_image_shape() -> None:
    body = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten())
    with pytest.raises(UsageError, match=r"can't determine .* pass input_shape=\(C, H, W\)"):
        with_new_head(body, 5)
    assert with_new_head(body, 5, input_shape=(1, 10, 12)).head.in_features == 2 * 8 * 10


def test_a_body_that_needs_real_numbers() -> None:
    with pytest.raises(UsageError, match="pass input_shape"):
        with_new_head(Scaled(), 5)
    assert with_new_head(Scaled(), 5, input_shape=[1, 8, 8]).head.in_features == 2


def test_looking_for_the_features_leaves_the_body_as_it_was() -> None:
    body = Pooled().train()
    before = copy.deepcopy(body)
    network = with_new_head(body, 5, input_shape=(3, 9, 9))
    assert same(body, before)
    assert network.body is body
    body(torch.zeros(1, 3, 9, 9))
    assert not same(body, before)  # its BatchNorm is in training again, and would have moved
    fresh = Pooled()
    fresh.norm.requires_grad_(False)
    with_new_head(fresh, 5)
    assert not fresh.norm.weight.requires_grad
    assert fresh.conv.weight.requires_grad


def test_a_body_in_float64_gets_such_a_head() -> None:
    network = with_new_head(without_head(lenet()).double(), 3)
    assert network(torch.zeros(1, 1, 28, 28, dtype=torch.float64)).dtype == torch.float64


def test_what_does_not_fit_is_refused() -> None:
    body = without_head(lenet())
    with pytest.raises(UsageError, match="does not take an image of 3×28×28"):
        with_new_head(body, 5, input_shape=(3, 28, 28))
    assert all(part.training for part in body.modules())  # it is left as it was
    with pytest.raises(UsageError, match=r"return a tensor .* got tuple"):
        with_new_head(Pair(), 5, input_shape=(1, 2, 2))
    with pytest.raises(UsageError, match=r"got shape \(12,\)"):
        with_new_head(nn.Flatten(0), 5, input_shape=(3, 2, 2))
    with pytest.raises(UsageError, match="num_classes is 0"):
        with_new_head(Pooled(), 0)


def test_without_head_keeps_names_and_weights() -> None:
    network = lenet()
    body = without_head(network)
    assert list(body.state_dict()) == list(network.state_dict())[:-2]
    assert body[0] is network[0]
    assert len(network) == len(body) + 1  # what was passed is not changed


def test_without_head_of_nin_and_vgg() -> None:
    with torch.device("meta"):
        assert [type(m) for m in without_head(nin())[-3:]] == [nn.Dropout, nn.AdaptiveAvgPool2d, nn.Flatten]
        assert isinstance(without_head(vgg(((1, 4),), image_size=4))[-1], nn.Dropout)


def test_without_head_refuses_what_it_can_not_cut() -> None:
    with pytest.raises(
        UsageError, match=r"Pooled has no nn.Linear to remove; replace its last layer by nn.Identity\(\)"
    ):
        without_head(Pooled())
    with pytest.raises(UsageError, match="no layer with parameters"):
        without_head(nn.Sequential(nn.ReLU()))


@pytest.mark.parametrize("frozen", [True, False])
def test_the_factory_rebuilds_from_json(frozen: bool) -> None:
    reference = Network(
        "cnntk.models.transfer:zoo_with_new_head",
        {"body": "lenet", "body_kwargs": {"image_size": 20}, "num_classes": 3, "frozen": frozen},
    )
    reference = Network(reference.factory, json.loads(json.dumps(reference.kwargs)))
    with pytest.raises(UsageError, match="pass input_shape"):
        build(reference)  # 20 is no size that is looked for
    kwargs = {**reference.kwargs, "input_shape": [1, 20, 20]}
    first, again = (build(Network(reference.factory, kwargs)) for _ in range(2))
    assert isinstance(first, NewHead)
    assert first.frozen is frozen
    again.load_state_dict(first.state_dict())
    images = torch.rand(2, 1, 20, 20)
    assert torch.equal(first.eval()(images), again.eval()(images))


def test_a_new_head_is_exported_before_it_has_seen_an_image() -> None:
    network = zoo_with_new_head("lenet", 3, frozen=True).eval()
    images = torch.rand(2, 1, 28, 28)
    program = torch.export.export(network, (images,))
    torch.testing.assert_close(program.module()(images), network(images))


class Residual(nn.Module):
    """A network of one's own: its head has two names and is not its last line."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(12, 12)
        self.tail = nn.ModuleDict({"head": nn.Linear(12, 4)})
        self.head = self.tail["head"]

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        return self.head(x + self.first(x))


class Twice(nn.Sequential):
    """A Sequential with a forward of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def test_without_head_of_any_module() -> None:
    network, images = Residual(), torch.rand(2, 3, 2, 2)
    answer = network(images)
    body = without_head(network)
    assert list(body.state_dict()) == ["first.weight", "first.bias"]
    assert torch.equal(network.head(body(images)), answer)
    assert torch.equal(network(images), answer), "what was passed is not changed"
    assert with_new_head(body, 5, input_shape=(3, 2, 2))(images).shape == (2, 5)


def test_without_head_keeps_an_overridden_forward() -> None:
    network, x = Twice(nn.Linear(2, 3), nn.Linear(3, 4)), torch.rand(1, 2)
    assert torch.equal(without_head(network)(x), 2 * network[0](x))


@pytest.mark.parametrize("frozen", [True, False])
def test_without_head_of_a_new_head_is_a_body_that_learns(frozen: bool) -> None:
    network = with_new_head(Pooled(), 2, frozen=frozen)
    body = without_head(network)
    assert same(body, network.body)
    assert (body is network.body) is not frozen
    assert all(p.requires_grad for p in body.parameters())
    assert network.body.conv.weight.requires_grad is not frozen, "what was passed is not changed"
    assert with_new_head(body, 3).head.out_features == 3
