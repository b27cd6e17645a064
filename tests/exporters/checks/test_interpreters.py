import pytest
import torch
from torch import nn

from cnntk.exporters.checks._interpreters import Float64Interpreter, Interpreter
from cnntk.exporters.sources.console import suppress_output


class Rows(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(x.shape[0], -1)


@pytest.mark.parametrize("kind", [Interpreter, Float64Interpreter])
def test_a_view_takes_other_strides_than_those_of_the_capture(kind: type[Interpreter]) -> None:
    """cpubone of timm: attention of another type returns its values in another order of memory."""
    x = torch.rand(2, 3, 4, 5)
    with suppress_output():  # torch warns of itself
        program = torch.export.export(Rows(), (x,)).run_decompositions()
    assert torch.ops.aten.view.default in {n.target for n in program.graph_module.graph.nodes}
    channels_last = x.contiguous(memory_format=torch.channels_last)
    with pytest.raises(RuntimeError, match="view size is not compatible"):
        torch.fx.Interpreter(program.graph_module).run(channels_last)
    (rows,) = kind(program, {}, {}, None).run(channels_last)
    assert torch.equal(rows.float(), x.reshape(2, -1))
