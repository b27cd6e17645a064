"""Graphs of a few nodes as ONNX bytes, to measure the machine with, in an install without onnx.

Field numbers are those of onnx.proto, written by `cnntk.runtime.artifact.protobuf`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import DTypeLike, NDArray

from cnntk.runtime.artifact.protobuf import encode_message

__all__ = ["model", "node", "tensor", "value"]

_MICROSOFT = "com.microsoft"
_IR_VERSION, _OPSET = 10, 18
_INT, _INTS = 2, 7
_TYPES = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7, "bool": 9}


def model(
    nodes: Sequence[bytes], weights: Sequence[bytes], inputs: Sequence[bytes], outputs: Sequence[bytes]
) -> bytes:
    """An ONNX file of parts that the functions below make."""
    parts = ((1, nodes), (5, weights), (11, inputs), (12, outputs))
    graph = encode_message((2, "small"), *((number, part) for number, some in parts for part in some))
    opsets = (
        encode_message((1, domain), (2, version)) for domain, version in (("", _OPSET), (_MICROSOFT, 1))
    )
    return encode_message((1, _IR_VERSION), (7, graph), *((8, opset) for opset in opsets))


def node(
    op: str,
    inputs: Sequence[str],
    output: str,
    attributes: Mapping[str, int | Sequence[int]] | None = None,
    *,
    microsoft: bool = False,
) -> bytes:
    """A node, which bears its output's name.

    Args:
        op: ONNX operator.
        inputs: names of values.
        output: name of its only one.
        attributes: whole numbers from 0 on, and rows of them.
        microsoft: whether it is an operator of onnxruntime's own.
    """
    made = (_attribute(name, number) for name, number in (attributes or {}).items())
    return encode_message(
        *((1, name) for name in inputs),
        *((2, output), (3, output), (4, op)),
        *((5, attribute) for attribute in made),
        *(((7, _MICROSOFT),) if microsoft else ()),
    )


def tensor(name: str, numbers: NDArray[np.generic]) -> bytes:
    """A weight."""
    dims = ((1, size) for size in numbers.shape)
    return encode_message(*dims, (2, _TYPES[numbers.dtype.name]), (8, name), (9, numbers.tobytes()))


def value(name: str, dtype: DTypeLike, shape: Sequence[int]) -> bytes:
    """An input or output of the graph."""
    dims = encode_message(*((1, encode_message((1, size))) for size in shape))
    kind = encode_message((1, _TYPES[np.dtype(dtype).name]), (2, dims))
    return encode_message((1, name), (2, encode_message((1, kind))))


def _attribute(name: str, number: int | Sequence[int]) -> bytes:
    if isinstance(number, int):
        return encode_message((1, name), (3, number), (20, _INT))
    return encode_message((1, name), *((8, part) for part in number), (20, _INTS))
