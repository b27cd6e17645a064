"""A program that torch.export captured before: in memory, or in a ``.pt2`` file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, TensorArgument

from cnntk.exporters.options import ExportOptions
from cnntk.exporters.source import Source
from cnntk.exporters.sources._pt2 import load_pt2
from cnntk.exporters.sources.inputs import form, input_specs, refuse_build_options
from cnntk.runtime.artifact.spec import TensorSpec
from cnntk.runtime.errors import UsageError
from cnntk.runtime.files import readable_file

_DYNAMIC = (
    "export it with a dynamic batch: torch.export.export(module, args, dynamic_shapes=({0: Dim('batch')},))"
)


def from_pt2(text: str, options: ExportOptions) -> Source:
    """Opens the program in the file."""
    file = readable_file(text, "a .pt2 file of torch.export.save")
    program = load_pt2(file, trust=options.trust)
    return from_program(program, options, Path(file).stem)


def from_program(program: ExportedProgram, options: ExportOptions, name: str = "program") -> Source:
    """Returns ``program`` with the inputs that it declares."""
    refuse_build_options(f"{name}: a program contains its weights", options)
    inputs = _inputs(program, name)
    if options.input_shape is not None:
        _check_shape(input_specs(options.input_shape, inputs[0].dtype), inputs, name)
    return Source(name, inputs, program=program)


def _inputs(program: ExportedProgram, name: str) -> tuple[TensorSpec, ...]:
    values = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    arguments = [s.arg for s in program.graph_signature.input_specs if s.kind is InputKind.USER_INPUT]
    if not arguments:
        raise UsageError(f"{name}: the program takes no input")
    for argument in arguments:
        if not isinstance(argument, TensorArgument):
            raise UsageError(
                f"{name}: its input {argument.name!r} is not a tensor; export the module without it"
            )
    return tuple(_input(argument.name, values[argument.name], name) for argument in arguments)


def _input(name: str, value: torch.Tensor, program: str) -> TensorSpec:
    where = f"{program}: the input {name!r}"
    if not value.shape:
        raise UsageError(f"{where} is a single number without a batch axis")
    batch: Any = value.shape[0]  # torch's stubs know no sizes but int
    rest: list[Any] = list(value.shape[1:])
    if not isinstance(batch, torch.SymInt) or not batch.node.expr.is_Symbol:
        raise UsageError(f"{where} has its batch fixed at {batch}; {_DYNAMIC}")
    for axis, size in enumerate(rest, start=1):
        if isinstance(size, torch.SymInt):
            raise UsageError(
                f"{where} has a dynamic axis {axis}; only the batch may be dynamic: export it at one size"
            )
    return TensorSpec(name, str(value.dtype).removeprefix("torch."), ("N", *rest))


def _check_shape(requested: tuple[TensorSpec, ...], inputs: tuple[TensorSpec, ...], name: str) -> None:
    shapes = [spec.shape for spec in inputs]
    if [spec.shape for spec in requested] != shapes:
        was = ",".join(form(shape[1:]) for shape in shapes)
        raise UsageError(
            f"--input {','.join(form(s.shape[1:]) for s in requested)}: {name} was captured at {was}"
        )
