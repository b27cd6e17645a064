from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cnntk.models._geometry import feature_map, require_positive, smallest_side
from cnntk.runtime.errors import UsageError

window = {"kernel_size": st.integers(1, 5), "stride": st.integers(1, 3)}
layer = st.one_of(
    st.builds(lambda **kw: nn.Conv2d(1, 1, **kw, device="meta"), **window, padding=st.integers(0, 2)),
    st.builds(lambda **kw: nn.Conv2d(1, 1, **kw, device="meta"), **window, dilation=st.integers(1, 2)),
    st.builds(nn.MaxPool2d, **window, dilation=st.integers(1, 2)),
    st.builds(nn.AvgPool2d, **window),
    st.builds(nn.ReLU),
)
stacks = st.lists(layer | st.lists(layer, max_size=2).map(lambda inner: nn.Sequential(*inner)), max_size=4)
drawn = settings(deadline=None, max_examples=80, derandomize=True)


@drawn
@given(layers=stacks, height=st.integers(1, 60), width=st.integers(1, 60))
def test_the_fold_is_what_torch_computes(layers: list[nn.Module], height: int, width: int) -> None:
    image = torch.empty(1, 1, height, width, device="meta")
    fits = height >= smallest_side(layers, 0) and width >= smallest_side(layers, 1)
    if fits:
        assert feature_map("net", layers, (height, width)) == nn.Sequential(*layers)(image).shape[2:]
    else:
        with pytest.raises(RuntimeError):
            nn.Sequential(*layers)(image)


def test_the_axes_are_not_mixed_up() -> None:
    layers = [nn.MaxPool2d((2, 5), (1, 3))]
    assert feature_map("net", layers, (8, 20)) == (7, 6)
    assert (smallest_side(layers, 0), smallest_side(layers, 1)) == (2, 5)


def test_too_small_says_what_works() -> None:
    layers = [nn.Conv2d(1, 1, 5), nn.MaxPool2d(2)]
    with pytest.raises(
        UsageError, match="net: an image of 5×9 pixels is too small; the smallest that works is 6×6"
    ):
        feature_map("net", layers, (5, 9))
    assert feature_map("net", layers, 6) == (1, 1)


def test_require_positive() -> None:
    require_positive("net", num_classes=1)
    with pytest.raises(UsageError, match="net: num_classes is 0; it must be at least 1"):
        require_positive("net", in_channels=3, num_classes=0)
