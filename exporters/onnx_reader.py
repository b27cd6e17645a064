"""Reads somebody's ONNX file in one form: nodes in order, each with a name of its own, outputs of numbers."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx_ir import external_data
from onnx_ir.passes.common import RemoveUnusedNodesPass

from cnntk.runtime.errors import ArtifactCorrupt, UnsupportedArtifact, UsageError

__all__ = ["read_onnx"]

# What onnx_ir raises where the protobuf can be read and what it says makes no sense.
_DAMAGE = (
    *(DecodeError, ValueError, TypeError, LookupError, AttributeError, NotImplementedError),
    ir.serde.SerdeError,
)

_STANDARD = "ai.onnx"
"""Other name of the standard operators' domain, which is empty."""


def read_onnx(file: Path) -> tuple[ir.Model, tuple[str, ...]]:
    """The model in a file, and notes for the user. Weights in external data are mapped from there.

    Raises:
        ArtifactCorrupt: The file is damaged.
        UnsupportedArtifact: Its weights are sparse.
        UsageError: None of its outputs is a tensor of numbers.
    """
    try:
        proto = onnx.load(file, load_external_data=False)
        left_out = _drop_other_outputs(proto)
        model = ir.from_proto(proto)
        external_data.set_base_dir(model.graph, file.parent)
        model.graph.sort()
    except _DAMAGE as error:
        cause: BaseException = error
        while cause.__cause__ is not None:  # onnx_ir repeats the whole graph around it
            cause = cause.__cause__
        text = " ".join(str(cause).split())[:300]
        if isinstance(cause, NotImplementedError):
            raise UnsupportedArtifact(f"{file}: has parts that onnx_ir does not read: {text}") from error
        raise ArtifactCorrupt(f"{file}: not a valid ONNX file, or damaged: {text}") from error
    if proto.graph.sparse_initializer:
        name = proto.graph.sparse_initializer[0].values.name
        raise UnsupportedArtifact(f"{file}: its weight {name!r} is sparse; export it with dense weights")
    constants = [v for v in model.graph.outputs if v.is_initializer()]
    for value in constants:
        model.graph.outputs.remove(value)
    left_out += [str(v.name) for v in constants]
    if left_out and not model.graph.outputs:
        raise UsageError(f"{file}: its outputs are no tensors of numbers: {', '.join(left_out)}")
    if not model.graph.outputs or not model.opset_imports:
        raise ArtifactCorrupt(f"{file}: not a valid ONNX file, or damaged: it has no outputs or no opset")
    _normalize(model)
    if not left_out:
        return model, ()
    RemoveUnusedNodesPass()(model)
    return model, (f"outputs of text, of maps, or of weights are left out: {', '.join(left_out)}",)


def _drop_other_outputs(proto: onnx.ModelProto) -> list[str]:
    """Removes outputs of text, sequences and maps, as ZipMap returns; the names of those."""
    outputs = list(proto.graph.output)
    numeric = [o for o in outputs if _has_numbers(o.type)]
    del proto.graph.output[:]
    proto.graph.output.extend(numeric)
    names = {o.name for o in numeric}
    return [o.name for o in outputs if o.name not in names]


def _has_numbers(value_type: onnx.TypeProto) -> bool:
    kind = value_type.WhichOneof("value")
    return kind is None or (
        kind == "tensor_type" and value_type.tensor_type.elem_type != onnx.TensorProto.STRING
    )


def _normalize(model: ir.Model) -> None:
    """Gives each node a name of its own, after its output if it has none, and operators one domain."""
    if _STANDARD in model.graph.opset_imports:
        model.graph.opset_imports.setdefault("", model.graph.opset_imports.pop(_STANDARD))
    counts = Counter(node.name for node in model.graph.all_nodes())
    names = set(counts)
    for node in model.graph.all_nodes():
        node.domain = "" if node.domain == _STANDARD else node.domain
        base = node.name or (node.outputs[0].name if node.outputs else "") or node.op_type
        if not node.name and base not in names:
            node.name = base
            names.add(base)
        elif not node.name or counts[node.name] > 1:
            numbered = (f"{base}_{i}" for i in itertools.count(1))
            node.name = next(name for name in numbered if name not in names)
            names.add(node.name)
