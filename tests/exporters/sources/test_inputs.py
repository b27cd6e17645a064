import pytest
import torch
from torch import nn

from cnntk.exporters.sources.inputs import dtype_of, in_forward_order, input_specs, one_shape
from cnntk.runtime.artifact.spec import TensorSpec
from cnntk.runtime.errors import UsageError


def test_specs_have_the_batch_in_front() -> None:
    assert input_specs((1, 8, 8), "float16") == (TensorSpec("input", "float16", ("N", 1, 8, 8)),)
    expected = TensorSpec("ids", "int64", ("N", 7))
    assert input_specs({"x": (2,), "ids": expected}, "float32") == (
        TensorSpec("x", "float32", ("N", 2)),
        expected,
    )


def test_a_source_of_one_image_takes_no_names() -> None:
    assert one_shape(None, "lenet") is None
    with pytest.raises(UsageError, match="lenet takes one input: write --input as"):
        one_shape({"image": (3, 8, 8)}, "lenet")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_type_is_that_of_the_weights(dtype: torch.dtype) -> None:
    assert f"torch.{dtype_of(nn.Linear(2, 2).to(dtype))}" == str(dtype)


def test_the_type_without_weights() -> None:
    assert dtype_of(nn.ReLU()) == "float32"
    network = nn.Module()
    network.register_buffer("count", torch.zeros(1, dtype=torch.int64))
    network.register_buffer("mean", torch.zeros(1, dtype=torch.float64))
    assert dtype_of(network) == "float64"


class Two(nn.Module):
    def forward(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return image * mask


def test_inputs_stand_in_the_order_of_the_arguments() -> None:
    mask, image = input_specs({"mask": (1,), "image": (3,)}, "float32")
    assert in_forward_order(Two(), (mask, image)) == (image, mask)
    with pytest.raises(UsageError, match=r"--input size=\.\.\.: no such argument; Two takes image, mask"):
        in_forward_order(Two(), input_specs({"size": (1,), "image": (3,)}, "float32"))


def test_names_are_free_where_forward_takes_any_number() -> None:
    class Sum(nn.Module):
        def forward(self, *parts: torch.Tensor) -> torch.Tensor:
            return sum(parts)

    shape = input_specs({"b": (1,), "a": (3,)}, "float32")
    assert in_forward_order(Sum(), shape) == shape
