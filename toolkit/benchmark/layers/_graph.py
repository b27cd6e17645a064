"""The nodes of an ONNX file and the shapes of its weights; small ONNX models from text; needs onnx."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnntk.runtime.errors import ArtifactCorrupt, MissingDependency

_HEADER = '<ir_version: 10, opset_import: ["": 18, "com.microsoft": 1]>'


@dataclass(frozen=True)
class Node:
    """A node of a graph; its name may be empty, and so are the names of inputs that are left out."""

    name: str
    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    int_attributes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Weight:
    """The shape of a constant, and the size of its elements in bytes."""

    shape: tuple[int, ...]
    size_bytes: int

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Graph:
    """The main graph of an ONNX file, without its subgraphs; no input is a weight, too."""

    nodes: tuple[Node, ...] = ()
    weights: dict[str, Weight] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()


def read_graph(file: Path) -> Graph:
    """Reads an ONNX file, of its weights only the shapes."""
    onnx = _import_onnx()
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        graph = onnx.load(file, load_external_data=False).graph
    except DecodeError as error:
        raise ArtifactCorrupt(f"{file}: not a valid ONNX file, or a damaged one ({error})") from error
    weights = {tensor.name: _weight(onnx, tensor) for tensor in graph.initializer}
    return Graph(
        nodes=tuple(_node(onnx, node) for node in graph.node),
        weights=weights,
        inputs=tuple(value.name for value in graph.input if value.name not in weights),
    )


def build_model(graph: str, weights: Mapping[str, NDArray[Any]] | None = None) -> bytes:
    """An ONNX file of opset 18 with onnxruntime's own operators, from ONNX's text form of its graph, like
    ``g (float[2] x) => (float[2] y) { y = Neg (x) }``."""
    _import_onnx()
    from onnx import numpy_helper, parser

    model = parser.parse_model(f"{_HEADER} {graph}")
    tensors = (numpy_helper.from_array(array, name) for name, array in (weights or {}).items())
    model.graph.initializer.extend(tensors)
    return bytes(model.SerializeToString())


def _import_onnx() -> Any:
    try:
        import onnx
    except ImportError as error:
        raise MissingDependency(f"--layers needs onnx ({error}); run: pip install onnx") from error
    return onnx


def _node(onnx: Any, node: Any) -> Node:
    integers = {a.name: int(a.i) for a in node.attribute if a.type == onnx.AttributeProto.INT}
    return Node(node.name, node.op_type, tuple(node.input), tuple(node.output), integers)


def _weight(onnx: Any, tensor: Any) -> Weight:
    types = onnx.TensorProto
    if tensor.data_type in (types.INT4, types.UINT4, types.FLOAT4E2M1):
        bits = 4
    else:
        bits = 8 * np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize
    return Weight(tuple(tensor.dims), -(-math.prod(tensor.dims) * bits // 8))
