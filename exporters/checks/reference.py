"""The reference: the captured torch program, run node by node in float64 and in its own precision.

The program is what torch itself captured, before any translation to ONNX, so that it judges the translation
and every pass. Run in float64 it is exact as far as float32 can tell; run in its own precision it shows how
large torch's own error is. Both name every inner value as the ONNX graph does, which finds the first node
that differs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch.export.graph_signature import InputKind
from torch.utils import _pytree as pytree

from cnntk.exporters.session import Arrays, GraphSession

__all__ = ["Arrays", "GraphReference", "ProgramReference", "Reference", "Visitor", "tensor_of"]

Visitor = Callable[[str, NDArray[Any]], None]

_BLOCK = 1 << 20
"""Weights that are widened at once; 8 MiB stay in the allocator's hands, and mostly in the cache."""


class Reference(Protocol):
    """What a model should answer, in float64 and in the source's own precision."""

    outputs: dict[str, str]

    def exact(self, inputs: Arrays, visit: Visitor | None = None) -> Arrays:
        """The answers in float64; ``visit`` is shown every inner tensor of floats, by name."""
        ...

    def single(self, inputs: Arrays, visit: Visitor | None = None) -> Arrays:
        """The answers in the source's own precision."""
        ...

    def shapes(self) -> dict[str, tuple[int | str, ...]]:
        """What the source says of the shape of each inner value, the batch as ``"N"``."""
        ...


class ProgramReference:
    """A captured program's answers.

    Args:
        program: decomposed, as `Captured` holds it.
        outputs: each output of the graph to the program's node that computes it.
        replaced: a node to the node that stands for it, where a pass took a random mask away on purpose.
    """

    def __init__(
        self,
        program: torch.export.ExportedProgram,
        outputs: Mapping[str, str],
        replaced: Mapping[str, str] | None = None,
    ) -> None:
        self.outputs = dict(outputs)
        self._program = program
        self._replaced = dict(replaced or {})

    def exact(self, inputs: Arrays, visit: Visitor | None = None) -> Arrays:
        """The answers in float64; ``visit`` is shown every inner tensor of floats, by name."""
        return self._run(_Float64, inputs, visit)

    def single(self, inputs: Arrays, visit: Visitor | None = None) -> Arrays:
        """The answers in the program's own precision."""
        return self._run(_Interpreter, inputs, visit)

    def shapes(self) -> dict[str, tuple[int | str, ...]]:
        """Of each node, as torch computed it while it captured; a symbolic size is the batch."""
        metas = ((n.name, n.meta.get("val")) for n in self._program.graph_module.graph.nodes)
        return {name: _shape(value) for name, value in metas if isinstance(value, torch.Tensor)}

    def _run(self, kind: type[_Interpreter], inputs: Arrays, visit: Visitor | None) -> Arrays:
        kept: Arrays = {node: np.zeros(0) for node in self.outputs.values()}
        interpreter = kind(self._program, self._replaced, kept, visit)
        tensors = [tensor_of(array) for array in inputs.values()]
        with torch.inference_mode():
            interpreter.run(*_placeholders(self._program, tensors))
        return {name: kept[node] for name, node in self.outputs.items()}


class _Interpreter(torch.fx.Interpreter):
    """Runs a program as it is, apart from what was replaced."""

    def __init__(
        self,
        program: torch.export.ExportedProgram,
        replaced: Mapping[str, str],
        kept: Arrays,
        visit: Visitor | None,
    ) -> None:
        # A stand-in may be needed after its last own use, so nothing is thrown away while there are any.
        super().__init__(program.graph_module, garbage_collect_values=not replaced)
        self._replaced = replaced
        self._kept = kept
        self._visit = visit
        self._nodes = {node.name: node for node in program.graph_module.graph.nodes}

    def run_node(self, n: torch.fx.Node) -> Any:
        stand_in = self._replaced.get(n.name)
        value = super().run_node(n) if stand_in is None else self.env[self._nodes[stand_in]]
        if isinstance(value, torch.Tensor):
            if n.name in self._kept:
                self._kept[n.name] = _array(value)
            if self._visit is not None and value.is_floating_point():
                self._visit(n.name, _array(value))
        return value


class _Float64(_Interpreter):
    """Runs a program in float64: each tensor is widened where it is used, so that no second model is held."""

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if target is torch.ops.aten.linear.default and args[1].numel() > _BLOCK:
            return _linear(*args, **kwargs)
        return super().call_function(target, pytree.tree_map(_widen, args), pytree.tree_map(_widen, kwargs))


def _linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """``x W^T + b`` in float64, W widened a few rows at a time: the whole of it would be gigabytes."""
    rows = max(1, _BLOCK // weight.shape[1])
    wide = x.double()
    answer = torch.cat([wide @ block.double().t() for block in torch.split(weight, rows)], dim=-1)
    return answer if bias is None else answer + bias.double()


def _widen(value: Any) -> Any:
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        return value.double()
    if isinstance(value, torch.dtype) and value.is_floating_point:
        return torch.float64
    return value


def _placeholders(program: torch.export.ExportedProgram, inputs: list[torch.Tensor]) -> list[Any]:
    """What the program's placeholders take, in order: weights, buffers, constants and the user's inputs."""
    given = iter(inputs)
    return [
        next(given) if spec.kind is InputKind.USER_INPUT else _held(program, spec.target)
        for spec in program.graph_signature.input_specs
    ]


def _held(program: torch.export.ExportedProgram, target: str | None) -> Any:
    name = str(target)
    return program.state_dict[name] if name in program.state_dict else program.constants[name]


def _shape(tensor: torch.Tensor) -> tuple[int | str, ...]:
    return tuple(d if isinstance(d, int) else _symbol(d) for d in tensor.shape)


def _symbol(size: torch.SymInt) -> str:
    """``N`` for the batch; multiples of it as torch writes them."""
    text = str(size)
    return "N" if text.isidentifier() else text


def tensor_of(array: NDArray[Any]) -> torch.Tensor:
    """An array as torch takes it."""
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.astype(np.float32)).bfloat16()
    return torch.from_numpy(np.ascontiguousarray(array))


def _array(tensor: torch.Tensor) -> NDArray[Any]:
    """numpy has no bfloat16, and a half's error is measured in wider numbers anyway."""
    wide = tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor
    return wide.detach().numpy()


class GraphReference:
    """Somebody's ONNX model as its own reference: there is no other.

    ``exact`` is onnxruntime with every optimization off, ``single`` with all of them on: two float32 programs
    of one function, whose difference is the rounding that its users live with already.

    Args:
        model: as it was read.
        outputs: each output of the artifact to the original's value of that meaning.
    """

    def __init__(self, model: ir.Model, outputs: Mapping[str, str]) -> None:
        self.outputs = dict(outputs)
        self._plain = GraphSession(model)
        self._optimized = GraphSession(model, optimize=True)

    def exact(self, inputs: Arrays, visit: Visitor | None = None) -> Arrays:
        """The answers with nothing fused."""
        return {k: v.astype(np.float64) for k, v in self._run(self._plain, inputs, visit).items()}

    def single(self, inputs: Arrays, visit: Visitor | None = None) -> Arrays:
        """The answers as onnxruntime gives them by default."""
        return self._run(self._optimized, inputs, visit)

    def shapes(self) -> dict[str, tuple[int | str, ...]]:
        """Nothing but the graph itself tells."""
        return {}

    def _run(self, session: GraphSession, inputs: Arrays, visit: Visitor | None) -> Arrays:
        answers = session.run(inputs)
        for name, array in answers.items():
            if visit is not None and array.dtype.kind == "f":
                visit(name, array)
        return {name: answers[value] for name, value in self.outputs.items() if value in answers}
