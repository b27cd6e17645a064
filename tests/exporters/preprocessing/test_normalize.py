"""What the first layer takes over of the normalization, and what not."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
import torch
from pixel_graphs import dark_and_light, open_session
from torch import nn

from cnntk.exporters.capture import capture
from cnntk.exporters.passes import run_passes
from cnntk.exporters.preprocessing import PreprocessingRecord, add_preprocessing
from cnntk.exporters.source import Source
from cnntk.runtime.artifact.spec import Preprocessing, TensorSpec
from cnntk.runtime.preprocessing.preprocess import preprocess

P = Preprocessing("rgb", 12, 12, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def captured(build: Callable[[], nn.Module]) -> ir.Model:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = nn.Sequential(build(), nn.Flatten()).eval()
    model = capture(
        Source("network", (TensorSpec("input", "float32", ("N", 3, 12, 12)),), module=module)
    ).model
    noise = np.random.default_rng(0).standard_normal((2, 3, 12, 12)).astype(np.float32)
    return run_passes(model, [{"input": noise}])[0]


def added(model: ir.Model, p: Preprocessing) -> PreprocessingRecord:
    """Adds it, and holds its answers against those of the network on floats."""
    before = open_session(model)
    record = add_preprocessing(model, p)
    batch = dark_and_light(np.random.default_rng(0), (12, 12), 3)
    (expected,) = before.run(None, {"input": preprocess(list(batch), p)})
    (output,) = open_session(model).run(None, {"image": batch})
    np.testing.assert_allclose(output, expected, rtol=0, atol=3e-6 * abs(expected).max())
    return record


def kinds(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


@pytest.mark.parametrize("invert", ["never", "always", "light-background"])
@pytest.mark.parametrize("groups", [1, 3])
def test_all_goes_into_a_convolution_without_padding(groups: int, invert: str) -> None:
    model = captured(lambda: nn.Conv2d(3, 6, 3, groups=groups))
    record = added(model, replace(P, invert=invert))
    assert len(record.folded) == 2
    assert record.not_folded == ()
    assert record.max_rel_diff is not None
    assert record.max_rel_diff < 1e-5
    assert "Sub" not in kinds(model)[-3:]


def test_what_padding_would_lose_stays() -> None:
    """Zeros around the image mean 0 after the normalization."""
    model = captured(lambda: nn.Conv2d(3, 6, 3, padding=1))
    record = added(model, P)
    assert [line.split(" ")[0] for line in record.folded] == ["Mul"]
    assert len(record.not_folded) == 1
    assert "pads with zeros" in record.not_folded[0]
    assert kinds(model)[-3:-1] == ["Sub", "Conv"]


def test_a_shift_in_spite_of_padding_would_be_wrong() -> None:
    """The negative control of the test above: the same, with the shift in the bias."""
    p, batch = replace(P, mean=(0.0,) * 3), dark_and_light(np.random.default_rng(0), (12, 12), 3)
    padded = open_session(captured(lambda: nn.Conv2d(3, 6, 3, padding=1)))
    (expected,) = padded.run(None, {"input": preprocess(list(batch), P)})
    (moved,) = padded.run(None, {"input": preprocess(list(batch), p)})
    inside = np.s_[:, :, 1:-1, 1:-1]
    apart = (expected - moved).reshape(2, 6, 12, 12)
    assert np.ptp(apart[inside], axis=(2, 3)).max() < 1e-4
    assert np.ptp(apart, axis=(2, 3)).max() > 0.1


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (nn.ReLU, "begins with Relu, not a linear layer"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(432, 5)), "not a linear layer"),
        (nn.Identity, "not a linear layer"),
    ],
    ids=["relu", "flatten", "nothing"],
)
def test_other_networks_keep_it_and_say_why(build: Callable[[], nn.Module], reason: str) -> None:
    record = added(captured(build), P)
    assert record.folded == ()
    assert any(reason in line for line in record.not_folded)


class Twice(nn.Module):
    """The input is read by two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.one(x) + self.two(x) * 2


def test_two_readers_keep_it() -> None:
    record = added(captured(Twice), P)
    assert record.folded == ()
    assert record.not_folded


def test_shared_weights_are_left_alone() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(self.conv(x))

    record = added(captured(Shared), P)
    assert record.folded == ()
    assert "used elsewhere" in record.not_folded[0]


def test_nothing_to_do_is_no_node() -> None:
    p = replace(P, scale=1.0, mean=(0.0,) * 3, std=(1.0,) * 3)
    model = captured(lambda: nn.Conv2d(3, 6, 3))
    record = added(model, p)
    assert (record.folded, record.not_folded, record.max_rel_diff) == ((), (), None)
    assert kinds(model)[:-1] == ["Resize", "Expand", "Transpose", "Cast", "Conv"]


class Tiny(nn.Conv2d):
    """Weights of about 1e-20."""

    def __init__(self) -> None:
        super().__init__(3, 6, 3, bias=False)
        self.weight.data *= 1e-20


def test_a_fold_that_drifts_is_rolled_back() -> None:
    """A factor of 1e-25 in weights of 1e-20 leaves one or two steps of float32 of them."""
    model = captured(Tiny)
    record = add_preprocessing(model, replace(P, scale=1e-25, mean=(0.0,) * 3, std=(1.0,) * 3))
    assert record.folded == ()
    assert "max rel difference" in record.not_folded[0]
    assert record.max_rel_diff is not None
    assert record.max_rel_diff > 0.01
    assert kinds(model)[-3:-1] == ["Mul", "Conv"]
