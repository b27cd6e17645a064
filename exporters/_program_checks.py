"""Faults of a captured program that would show later under another name: in shapes, or across batch sizes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

from cnntk.exporters._torch_errors import quoted_line
from cnntk.exporters.sources.inputs import form
from cnntk.exporters.sources.io_names import user_inputs, user_outputs
from cnntk.runtime.errors import CaptureError

_aten = torch.ops.aten
_SQUEEZES = (_aten.squeeze.default, _aten.squeeze.dim, _aten.squeeze.dims)
_NUMBERS = (_aten.item.default, _aten._local_scalar_dense.default)


def check_program(program: ExportedProgram, name: str) -> None:
    """Checks that a program has a row for each image of any batch.

    Args:
        program: Program of torch.export.
        name: Name of the source.

    Raises:
        CaptureError: The size of an output is fixed or depends on values, a squeeze drops the batch axis
            where the batch is 1, or a number is taken from all images of a batch; the message names the line.
    """
    _check_outputs(program, name)
    for node in program.graph.nodes:
        if node.target in _SQUEEZES and node.users and _drops_batch(node):
            call = "squeeze()" if node.target is _aten.squeeze.default else "this squeeze"
            raise CaptureError(
                f"{_where(name, node)}{call} also drops the batch axis where the batch is 1; "
                "use flatten(1), or squeeze(dim) with the other axes"
            )
    _check_numbers(program, name)


def _check_outputs(program: ExportedProgram, name: str) -> None:
    outputs = [node for node in user_outputs(program) if isinstance(node.meta.get("val"), torch.Tensor)]
    for node in outputs:
        if free_unbacked_symbols(node.meta["val"]):
            raise CaptureError(
                f"{_where(name, node)}the size of an output depends on the values in the image; "
                "keep sizes fixed and mask with torch.where instead"
            )
    if not any(_batch(program) in str(node.meta["val"].shape) for node in outputs):
        shape = form(outputs[0].meta["val"].shape)
        raise CaptureError(
            f"{_where(name, outputs[0])}the batch is fixed: the output "
            f"{f'has shape {shape}' if shape else 'is one number'} for every batch size; "
            "use x.shape[0] or -1 instead of numbers, and do not index or reduce the batch"
        )


def _check_numbers(program: ExportedProgram, name: str) -> None:
    """No output depends on a number that is taken from the values of a whole batch."""
    used = _ancestors(program.graph.output_node().all_input_nodes)
    for node in used:
        if node.target in _NUMBERS and not _ancestors([node]).isdisjoint(user_inputs(program)):
            raise CaptureError(
                f"{_where(name, node)}int(), float() and .item() take one number from all images of a batch; "
                "keep a tensor with a value an image, like x.amax((1, 2, 3), keepdim=True)"
            )


def _drops_batch(node: fx.Node) -> bool:
    """Whether a squeeze may drop an axis whose size is 1 where the batch is 1."""
    shape: torch.Size = node.args[0].meta["val"].shape  # type: ignore[union-attr]
    axes: Any = node.args[1] if len(node.args) > 1 else range(len(shape))
    sizes: list[Any] = [shape[axis] for axis in ([axes] if isinstance(axes, int) else axes)]
    symbols = [size.node.expr for size in sizes if isinstance(size, torch.SymInt)]
    return any(expr.subs(dict.fromkeys(expr.free_symbols, 1)) == 1 for expr in symbols)


def _ancestors(nodes: Iterable[fx.Node]) -> set[fx.Node]:
    """The nodes from whose values those of ``nodes`` are computed, and ``nodes``; sizes are no values."""
    reached: set[fx.Node] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node not in reached and node.target is not _aten.sym_size.int:
            reached.add(node)
            waiting.extend(node.all_input_nodes)
    return reached


def _batch(program: ExportedProgram) -> str:
    return str(user_inputs(program)[0].meta["val"].shape[0])


def _where(name: str, node: fx.Node) -> str:
    line = quoted_line(node.meta.get("stack_trace") or "")
    return f"{name}: {line}: " if line else f"{name}: "
