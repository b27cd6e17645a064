import pytest
import torch
from torch import nn

from cnntk.exporters.checks._interpreters import Float64Interpreter, Interpreter, PerturbedInterpreter
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


def perturbed_error(net: nn.Module, x: torch.Tensor, flat: bool = False) -> float:
    """Largest difference of a perturbed run, relative to the largest output."""
    with suppress_output():
        program = torch.export.export(net, (x,)).run_decompositions({})
    is_flat = [flat] * len(x)
    interpreter = PerturbedInterpreter(program, {}, {}, None, eps=2.0**-23, is_flat=is_flat, seed=0)
    constants = [program.constants[s.target] for s in program.graph_signature.input_specs if s.target]
    *_, output = interpreter.run(*constants, x)
    exact = net(x)
    return float((output - exact).abs().max() / exact.abs().max())


class Masked(nn.Module):
    """Attention in windows whose mask comes from comparing the numbers of regions, as in Swin."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        regions = x.new_zeros((x.shape[2],))
        regions[x.shape[2] // 2 :] = 3
        mask = regions[None] - regions[:, None]
        mask = mask.masked_fill(mask != 0, -100.0)
        return (x @ x.transpose(1, 2) @ x + mask[: x.shape[1]]).softmax(-1)


def test_whole_numbers_are_exact() -> None:
    generator = torch.Generator().manual_seed(0)
    assert 0 < perturbed_error(Masked(), torch.randn(2, 4, 6, generator=generator)) < 1e-4


class Norm(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.group_norm(x * 1.5, 1, eps=1e-6)


def test_an_average_of_many_pixels_may_be_off_by_more_than_a_step() -> None:
    """A norm divides the error of the mean by the deviation: little on noise, much on a pale image."""
    noise = torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    ordinary, pale = perturbed_error(Norm(), noise), perturbed_error(Norm(), 10 + noise * 0.01, flat=True)
    assert ordinary < 8 * 2.0**-23
    steps = 1000 * (4 * 64 * 64) ** 0.5  # the mean is 1000 deviations
    assert 0.1 * steps < pale / 2.0**-23 < steps


class Averaged(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * 3).mean((2, 3))


def test_on_flat_images_the_errors_of_pixels_do_not_cancel() -> None:
    x = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    ordinary, flat = (perturbed_error(Averaged(), x, is_flat) for is_flat in (False, True))
    assert ordinary < 8 * 2.0**-23
    assert 10 * 2.0**-23 < flat < 60 * 2.0**-23  # 16 steps of the input and of each of two layers
