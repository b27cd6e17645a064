"""The precision of a source, and the cast to another one before it is captured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import onnx_ir as ir
import torch
from torch import Tensor, nn

from cnntk.exporters.checks.limits import EPSILON
from cnntk.exporters.options import Dtype
from cnntk.exporters.source import Source
from cnntk.exporters.sources._evaluation import cast_weights
from cnntk.runtime.artifact.spec import TensorSpec
from cnntk.runtime.errors import UsageError

__all__ = ["cast_source", "weight_dtypes"]


_NO_BFLOAT16 = "is in bfloat16, for which onnxruntime's CPU provider has no kernels"


def cast_source(source: Source, dtype: Dtype, note: str | None = None) -> Source:
    """Casts the source's weights, and the inputs that had their type, to ``dtype``.

    ``auto`` keeps the type, except for bfloat16, which onnxruntime does not run: it becomes float32, which
    represents each weight exactly. A cast is noted and recorded in the provenance.

    Args:
        source: Source as it was opened.
        dtype: Type of the artifact's weights.
        note: Text of the note; by default that the user wanted the cast.

    Raises:
        UsageError: The source is a captured program or an ONNX graph, which can't be cast; or a weight
            exceeds the type's largest number.
    """
    dtypes = weight_dtypes(source)
    if dtype == "auto":
        dtypes |= {spec.dtype for spec in source.inputs}
    types = {old: "float32" if dtype == "auto" else dtype for old in dtypes if _changes(old, dtype)}
    if not types:
        return source
    if source.module is None:
        raise UsageError(_can_not_be_cast(source, dtype, sorted(types)))
    before, after = ", ".join(sorted(types)), next(iter(types.values()))
    if dtype == "auto":
        note = f"the network {_NO_BFLOAT16}: it is exported in float32, which represents its weights exactly"
    module = _cast(source.module, types)
    cast = replace(
        source,
        module=module,
        inputs=_cast_inputs(source, types),
        provenance={**source.provenance, "dtype": after, "cast_from": before},
        notes=(*source.notes, note or f"cast from {before} to {after} by --dtype"),
    )
    if all(_holds(after, old) for old in types):
        return cast
    _check_range(source.module, module, after)
    types = {"bfloat16": "float32"}
    original = replace(source, module=_cast(source.module, types), inputs=_cast_inputs(source, types))
    return replace(cast, source_before_cast=original)


def weight_dtypes(source: Source) -> set[str]:
    """Returns the types of the source's floating-point weights; of its inputs where it has none."""
    return set(_weights(source)) or {spec.dtype for spec in source.inputs if spec.dtype in EPSILON}


def _changes(old: str, dtype: Dtype) -> bool:
    return old == "bfloat16" if dtype == "auto" else old in EPSILON and old != dtype


def _weights(source: Source) -> Iterable[str]:
    if source.module is not None:
        tensors: Iterable[Tensor] = (*source.module.parameters(), *source.module.buffers())
    elif source.program is not None:
        values = (*source.program.state_dict.values(), *source.program.constants.values())
        tensors = [value for value in values if isinstance(value, Tensor)]
    else:
        return _graph_weights(source.graph)
    return (name for t in tensors if (name := str(t.dtype).removeprefix("torch.")) in EPSILON)


def _graph_weights(graph: ir.Model | None) -> Iterable[str]:
    """Yields the types of tensors with an axis: single numbers are attributes rather than weights."""
    values = graph.graph.initializers.values() if graph is not None else ()
    tensors = (v.const_value for v in values if v.const_value is not None and len(v.const_value.shape))
    return (name for t in tensors if (name := str(t.dtype.numpy().name)) in EPSILON)


def _can_not_be_cast(source: Source, dtype: Dtype, dtypes: list[str]) -> str:
    target = "float32" if dtype == "auto" else dtype
    if source.program is not None:
        kind = "a captured program can't be cast"
        advice = f"capture the module again: torch.export.export(module.to(torch.{target}), ...)"
    else:
        kind, advice = "an ONNX graph can't be cast", f"export it again from torch, in {target}"
    if dtype == "auto":
        return f"{source.name}: {_NO_BFLOAT16}, and {kind}; {advice}"
    return f"--dtype {dtype}: {source.name} is in {', '.join(dtypes)}, and {kind}; {advice}"


def _cast(module: nn.Module, types: Mapping[str, str]) -> nn.Module:
    return cast_weights(module, {getattr(torch, old): getattr(torch, new) for old, new in types.items()})


def _cast_inputs(source: Source, types: Mapping[str, str]) -> tuple[TensorSpec, ...]:
    return tuple(replace(s, dtype=types.get(s.dtype, s.dtype)) for s in source.inputs)


def _holds(dtype: str, other: str) -> bool:
    """Whether ``dtype`` represents every number of ``other``."""
    return dtype == other or dtype == "float64" or (dtype == "float32" and other != "float64")


def _check_range(before: nn.Module, after: nn.Module, dtype: str) -> None:
    """Raises UsageError for a number that would become infinite in the type."""
    old = dict((*before.named_parameters(), *before.named_buffers()))
    for name, tensor in (*after.named_parameters(), *after.named_buffers()):
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            lost = old[name][torch.isfinite(old[name]) & ~torch.isfinite(tensor)]
            if lost.numel():
                raise UsageError(
                    f"--dtype {dtype}: weight {name!r} has the value {float(lost[0]):.3g}, "
                    f"beyond {dtype}'s limit {torch.finfo(tensor.dtype).max:.5g}; use a wider type"
                )
