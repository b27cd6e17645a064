from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention as attend

from cnntk.exporters._program_rewrites import rewrite_program
from cnntk.exporters.capture import capture
from cnntk.exporters.options import ExportOptions
from cnntk.exporters.sources import open_source
from cnntk.exporters.sources.console import suppress_output

SHAPE = (4, 6, 8)
MASK = torch.ones(6, 6).tril() > 0
BIAS = torch.linspace(-1, 1, 36).reshape(6, 6)


def heads(x: Tensor) -> Tensor:
    """(N, 4, 6, 8) as (N, 4, 2, 6, 4): one more dimension than torch's translation takes."""
    return x.unflatten(3, (2, 4)).transpose(2, 3)


ATTENTION: dict[str, Callable[[Tensor], Tensor]] = {
    "2 dimensions": lambda x: x + attend(x.mean((0, 1)), x.mean((0, 1)), x.mean((0, 1))),
    "3 dimensions": lambda x: attend(x[:, 0], x[:, 1], x[:, 2]),
    "3, bool mask": lambda x: attend(x[:, 0], x[:, 1], x[:, 2], MASK),
    "3, mask an image": lambda x: attend(x[:, 0], x[:, 1], x[:, 2], x[:, 3, :, :6]),
    "3, causal, scale": lambda x: attend(x[:, 0], x[:, 1], x[:, 2], is_causal=True, scale=0.3),
    "4, groups": lambda x: attend(torch.cat([x, x], 1), x, x, enable_gqa=True),
    "5 dimensions": lambda x: attend(heads(x), heads(x) * 2, heads(x).flip(1)),
    "5, mask": lambda x: attend(heads(x), heads(x), heads(x), attn_mask=BIAS),
    "5, mask of 4": lambda x: attend(heads(x), heads(x), heads(x), BIAS.expand(4, 2, 6, 6)),
    "5, causal": lambda x: attend(heads(x), heads(x), heads(x), is_causal=True),
    "5, groups": lambda x: attend(heads(x), heads(x)[:, :, :1], heads(x)[:, :, :1], enable_gqa=True),
    "5, one key": lambda x: attend(heads(x), heads(x)[:1], heads(x)[:1]),
    "6 dimensions": lambda x: attend(heads(x)[:, None], heads(x)[:, None], heads(x)[:, None]),
}

BOUNDS: dict[str, Callable[[Tensor], Tensor]] = {
    "float and int": lambda x: x.clamp(0.0, 1),
    "int and float": lambda x: x.clamp(min=-1, max=0.5),
    "of integers": lambda x: (x * 3).int().clamp(0.5, 2),
    "two ints": lambda x: x.clamp(0, 1),
    "two ints of integers": lambda x: (x * 3).int().clamp(0, 1),
}

LOG_SIGMOID: dict[str, Callable[[Tensor], Tensor]] = {
    "log of a sigmoid of 0": lambda x: nn.functional.logsigmoid(x * 1000),
    "log of a sigmoid by hand": lambda x: torch.log(torch.sigmoid(x * 20)),
    "log of a sigmoid of 1": lambda x: nn.functional.logsigmoid(x + 12) * 1e5,
}

CASES = ATTENTION | BOUNDS | LOG_SIGMOID


class Of(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@pytest.mark.parametrize("function", CASES.values(), ids=CASES)
def test_what_torch_does_not_translate_equals_the_module(function: Callable[[Tensor], Tensor]) -> None:
    model = capture(open_source(Of(function), ExportOptions(input_shape=SHAPE))).model
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    for count in (1, 3):
        x = torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(count))
        (result,) = session.run(None, {"input": x.numpy()})
        expected = function(x).numpy()
        assert result.dtype == expected.dtype
        np.testing.assert_allclose(result, expected, rtol=2e-6, atol=2e-6)


def test_attention_over_4_dimensions_and_the_users_program_stay_as_they_are() -> None:
    batch = {0: torch.export.Dim("N")}
    module = Of(lambda x: attend(x, x, x) + attend(x[:, 0], x[:, 0], x[:, 0])[:, None])
    program = torch.export.export(module, (torch.zeros(2, *SHAPE),), dynamic_shapes=(batch,))
    before = str(program.graph), str(program.graph_signature)
    with suppress_output():
        rewritten = rewrite_program(program)
    assert (str(program.graph), str(program.graph_signature)) == before
    ranks = [
        node.meta["val"].dim()
        for node in rewritten.graph.nodes
        if node.target is torch.ops.aten.scaled_dot_product_attention.default
    ]
    assert ranks == [4, 4]
