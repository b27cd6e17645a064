"""Ways to run a captured torch program: as it is, in float64, in float32, and perturbed by rounding."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch.utils import _pytree as pytree

from cnntk.exporters.session import Arrays

Visitor = Callable[[str, NDArray[Any]], None]

_BLOCK = 1 << 20
"""Weights converted to float64 at once; 8 MiB mostly stay in the cache."""

SYSTEMATIC = 16.0
"""Steps (eps) by which a layer may be off on a flat image: there every pixel of a channel rounds alike, so
errors of a mean over k pixels do not cancel. onnxruntime's mean of 1,024 equal values was 32 steps off."""

_NORMS: dict[Any, tuple[int | None, int, int]] = {
    torch.ops.aten.group_norm.default: (1, 2, 4),
    torch.ops.aten.native_group_norm.default: (6, 1, 7),
    torch.ops.aten.instance_norm.default: (None, 1, 7),
}
"""Positions of the number of groups, weight and eps of operators that average over pixels; None: a group a
channel. The mean of k values of one sign may be off by sqrt(k) steps, divided by their deviation."""

_SAMPLE = 64
"""Elements of which some is no whole number in nearly every value: the rest need not be looked at."""

_LANES = 16.0
"""Sums of a vector unit, over which the terms of a mean are spread."""


class Interpreter(torch.fx.Interpreter):
    """Runs a program as it is, apart from its substitutions; stores the values of the nodes in ``values``."""

    def __init__(
        self,
        program: torch.export.ExportedProgram,
        substitutions: Mapping[str, str],
        values: Arrays,
        visit: Visitor | None,
    ) -> None:
        # A substitute may be needed after its own last use, so no value is dropped where there are any.
        super().__init__(program.graph_module, garbage_collect_values=not substitutions)
        self._substitutions = substitutions
        self._values = values
        self._visit = visit
        self._nodes = {node.name: node for node in program.graph_module.graph.nodes}

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # A view that the capture's strides allow may need a copy here: kernels differ in them by type.
        is_view = target is torch.ops.aten.view.default
        return super().call_function(torch.ops.aten.reshape.default if is_view else target, args, kwargs)

    def run_node(self, n: torch.fx.Node) -> Any:
        substitute = self._substitutions.get(n.name)
        value = super().run_node(n) if substitute is None else self.env[self._nodes[substitute]]
        if isinstance(value, torch.Tensor):
            if n.name in self._values:
                self._values[n.name] = as_array(value)
            if self._visit is not None and value.is_floating_point():
                self._visit(n.name, as_array(value))
        return value


class Float64Interpreter(Interpreter):
    """Runs a program in float64: each tensor is converted where it is used, so there is no second model."""

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if target is torch.ops.aten.linear.default and args[1].numel() > _BLOCK:
            return _linear(*args, **kwargs)
        args, kwargs = pytree.tree_map(_to_float64, (args, kwargs))
        return super().call_function(target, args, kwargs)


class PerturbedInterpreter(Interpreter):
    """Runs a program with each node's output off by rounding, as sound programs differ from each other.

    Each element is off by one step, on flat images each channel by `SYSTEMATIC` steps as well, and before a
    group or instance norm each channel by the error of a mean. Whole numbers are exact.

    Args:
        eps: Relative step.
        is_flat: Whether each image is flat.
        seed: Seed of the signs.
    """

    def __init__(self, *args: Any, eps: float, is_flat: Sequence[bool], seed: int) -> None:
        super().__init__(*args)
        self._eps = eps
        self._systematic = SYSTEMATIC * torch.tensor(is_flat, dtype=torch.float64)
        self._generator = torch.Generator().manual_seed(seed)
        program: torch.export.ExportedProgram = args[0]
        self._inputs = frozenset(program.graph_signature.user_inputs)

    def run_node(self, n: torch.fx.Node) -> Any:
        value = super().run_node(n)
        if n.target in _NORMS:
            value = self._with_mean_error(n, value)
        is_input = n.op == "placeholder" and n.name in self._inputs
        rounds = isinstance(value, torch.Tensor) and value.is_floating_point()
        if (_is_view(n) and not is_input) or not rounds:
            return value
        if _is_integral(value.flatten()[:_SAMPLE]) and _is_integral(value):
            return value  # whole numbers, like those that make a mask, are exact in every program
        value = value * (1 + self._eps * self._signs(value.shape[-2:])).to(value.dtype)
        if value.dim() > 1:
            value *= self._row_factor(value)
        if n.name in self._values:
            self._values[n.name] = as_array(value)
        return value

    def _row_factor(self, value: torch.Tensor) -> torch.Tensor:
        """1 plus or minus a step for each index of all axes but the last two, and more on flat images.

        Random numbers for all elements would take longer than the network.
        """
        steps = self._signs((*value.shape[:-2], 1, 1))
        if self._splits(value) and self._systematic.any():
            steps = steps + self._signs((*value.shape[:2], *(1,) * (value.dim() - 2))) * self._rows(value)
        return (1 + self._eps * steps).to(value.dtype)

    def _splits(self, value: torch.Tensor) -> bool:
        """Whether the rows of a value may belong to the images in order."""
        return value.shape[0] % len(self._systematic) == 0

    def _rows(self, value: torch.Tensor) -> torch.Tensor:
        """The systematic steps of the image of each row of ``value``."""
        rows = self._systematic.repeat_interleave(value.shape[0] // len(self._systematic))
        return rows.view(-1, *(1,) * (value.dim() - 1))

    def _with_mean_error(self, n: torch.fx.Node, value: Any) -> Any:
        """The output of a group norm whose means are off by the rounding of a sum of k values.

        Errors of equal values do not cancel, and their deviation is off as well, so they count twice; those
        of others do, and are spread over a vector unit's lanes.
        """
        args, _ = self.fetch_args_kwargs_from_env(n)
        at = _NORMS[n.target]
        groups, weight, eps = (args[i] if i is not None and i < len(args) else None for i in at)
        groups = groups or args[0].shape[1]
        rows = args[0].double().reshape(len(args[0]), groups, -1)
        deviations = (rows.var(-1, correction=0) + (eps or 1e-5)).sqrt()
        steps = math.sqrt(rows.shape[-1]) * self._signs(deviations.shape)
        if self._splits(rows):
            steps = steps * torch.where(self._rows(deviations) > 0, 2.0, 1 / _LANES)
        errors = self._eps * steps * rows.mean(-1) / deviations
        channels = args[0].shape[1]
        errors = errors.repeat_interleave(channels // groups, 1) * (1 if weight is None else weight.double())
        output = value[0] if isinstance(value, tuple) else value
        output = output + errors.view(*errors.shape, *(1,) * (output.dim() - 2)).to(output.dtype)
        return (output, *value[1:]) if isinstance(value, tuple) else output

    def _signs(self, shape: Sequence[int]) -> torch.Tensor:
        return torch.randint(0, 2, tuple(shape), generator=self._generator, dtype=torch.float64) * 2 - 1


class Float32Interpreter(Interpreter):
    """Runs a float64 program in float32."""

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        args, kwargs = pytree.tree_map(_to_float32, (args, kwargs))
        return super().call_function(target, args, kwargs)


def _is_integral(value: torch.Tensor) -> bool:
    return bool((value == value.round()).all())


def _is_view(node: torch.fx.Node) -> bool:
    return node.op != "call_function" or bool(getattr(node.target, "is_view", True))


def _linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """``x W^T + b`` in float64, with W converted a few rows at a time: all of it could be gigabytes."""
    rows = max(1, _BLOCK // weight.shape[1])
    wide = x.double()
    product = torch.cat([wide @ block.double().t() for block in torch.split(weight, rows)], dim=-1)
    return product if bias is None else product + bias.double()


def _to_float64(value: Any) -> Any:
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        return value.double()
    if isinstance(value, torch.dtype) and value.is_floating_point:
        return torch.float64
    return value


def _to_float32(value: Any) -> Any:
    if isinstance(value, torch.Tensor) and value.dtype is torch.float64:
        return value.float()
    return torch.float32 if value is torch.float64 else value


def as_array(tensor: torch.Tensor) -> NDArray[Any]:
    """The tensor as an array; 16-bit floats as float32, because numpy has no bfloat16."""
    wide = tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor
    return wide.detach().numpy()
