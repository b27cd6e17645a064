"""How much memory a graph takes at least: a lower bound from what its file says, without onnxruntime."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from cnntk.runtime.artifact.protobuf import Data, _Field, _fields, file_bytes, invalid_file_error, read_varint
from cnntk.runtime.artifact.spec import ModelSpec
from cnntk.runtime.errors import OutOfMemory
from cnntk.runtime.sections import size_text

__all__ = ["LeastMemory", "batch_error", "check_memory", "least_memory"]

_NESTED = {
    "model": {7: "graph", 25: "function"},
    "function": {7: "node"},
    "graph": {1: "node", 5: "tensor", 11: "value", 12: "value", 13: "value"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph"},
}
"""Kinds of the messages in a message, by the number of the field in onnx.proto."""

_BITS = {1: 32, 4: 16, 5: 16, 6: 32, 7: 64, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128, 16: 16}
_BYTE_TYPES = {2, 3, 8, 9, 17, 18, 19, 20, 24}
_INT64, _MAX_RANK = 7, 64

_SHAPE_INPUTS = {"ConstantOfShape": 0, "Expand": 1, "Tile": 1, "Resize": 3}
"""Operators whose output has at least as many elements as the product of one of their inputs."""


@dataclass
class LeastMemory:
    """A lower bound of the memory that a graph takes, for one image.

    Attributes:
        weights_bytes: Bytes of all weights and constants.
        largest_bytes: Bytes of the largest other value whose size is in the file.
        largest_name: Name of that value.
    """

    weights_bytes: int = 0
    largest_bytes: int = 0
    largest_name: str = ""
    _integers: dict[str, list[int]] = field(default_factory=dict)
    _shaped: list[tuple[str, str]] = field(
        default_factory=list
    )  # names of outputs, and of what has the sizes

    @property
    def total_bytes(self) -> int:
        """Bytes of both together."""
        return self.weights_bytes + self.largest_bytes

    def add_value(self, name: str, size_bytes: int) -> None:
        """Takes a value into account."""
        if size_bytes > self.largest_bytes:
            self.largest_bytes, self.largest_name = size_bytes, name


def least_memory(data: Data, name: str) -> LeastMemory:
    """Adds up what the file says: weights, declared shapes, and sizes that are constants.

    Sizes that are computed count nothing, and named dimensions as 1. Elements of an unknown type count as a
    byte. ``name`` is the file's name in messages.

    Raises:
        ArtifactCorrupt: The data is no ONNX file.
    """
    result = LeastMemory()
    pending = [("model", memoryview(data))]  # no recursion, because graphs may be nested deeply
    try:
        while pending:
            kind, message = pending.pop()
            pending += list(_read(kind, message, result))
    except (ValueError, IndexError) as error:
        raise invalid_file_error(data, name, error) from error
    for output, sizes in result._shaped:
        result.add_value(output, _product(result._integers.get(sizes, ())))
    return result


def check_memory(model: str | bytes, name: str, spec: ModelSpec | None, max_memory: int) -> None:
    """Refuses a model that takes more memory than ``max_memory`` for one image, as far as the file says so.

    Raises:
        OutOfMemory: It does.
    """
    least = least_memory(file_bytes(model), name)
    for layer in () if spec is None else spec.layers:
        least.add_value(layer.name, layer.activation_bytes)
    if least.total_bytes > max_memory:
        largest = f", {least.largest_name} {size_text(least.largest_bytes)}" if least.largest_bytes else ""
        raise OutOfMemory(
            f"{name}: takes at least {size_text(least.total_bytes)} (weights {size_text(least.weights_bytes)}"
            f"{largest}), and max_memory is {size_text(max_memory)}; raise it if you trust the file"
        )


def batch_error(
    name: str, inputs: Mapping[str, NDArray[Any]], spec: ModelSpec | None, max_memory: int | None
) -> OutOfMemory:
    """The error for a batch that takes more memory than there is, or than ``max_memory``."""
    batch = next((len(array) for array in inputs.values() if array.ndim), 1)
    advice = "free memory, or use a smaller model" if max_memory is None else "raise max_memory"
    largest = batch * max((layer.activation_bytes for layer in (spec.layers if spec else ())), default=0)
    return OutOfMemory(
        f"{name}: not enough memory for a batch of {batch:,}"
        f"{f', whose largest activation takes {size_text(largest)}' if largest else ''}"
        f"{'' if max_memory is None else f' (max_memory is {size_text(max_memory)})'}; "
        f"{'run fewer images at once, as run_many does' if batch > 1 else advice}"
    )


def _read(kind: str, message: memoryview, result: LeastMemory) -> Iterator[tuple[str, memoryview]]:
    """Adds what the message says, and yields those in it."""
    if kind == "tensor":
        result.weights_bytes += _read_tensor(message, "", result)
    elif kind == "value":
        _read_value(message, result)
    elif kind == "node":
        yield from _read_node(list(_fields(message)), result)
    else:
        nested = _NESTED[kind]
        yield from ((nested[f.number], f.value) for f in _fields(message) if f.number in nested)


def _read_node(fields: list[_Field], result: LeastMemory) -> Iterator[tuple[str, memoryview]]:
    op_type = next((f.text for f in fields if f.number == 4), "")
    inputs = [f.text for f in fields if f.number == 1]
    outputs = [f.text for f in fields if f.number == 2]
    index = _SHAPE_INPUTS.get(op_type, len(inputs))
    if index < len(inputs) and outputs:
        result._shaped.append((outputs[0], inputs[index]))
    for attribute in (f.value for f in fields if f.number == 5):
        if op_type == "Constant" and outputs:
            for tensor in (f.value for f in _fields(attribute) if f.number == 5):
                _read_tensor(tensor, outputs[0], result)
            result._integers.setdefault(
                outputs[0], [n for f in _fields(attribute) if f.number == 8 for n in _varints(f.value)]
            )
        yield "attribute", attribute


def _read_tensor(message: memoryview, name: str, result: LeastMemory) -> int:
    """Returns the size in bytes, and keeps the integers of what may be a shape."""
    fields = list(_fields(message))
    dims = [n for f in fields if f.number == 1 for n in _varints(f.value)]
    dtype = next((n for f in fields if f.number == 2 for n in _varints(f.value)), 0)
    if dtype == _INT64 and _product(dims) <= _MAX_RANK:
        values = [n for f in fields if f.number == 7 for n in _varints(f.value)]
        for raw in (bytes(f.value) for f in fields if f.number == 9):
            values += struct.unpack(f"<{len(raw) // 8}q", raw[: len(raw) // 8 * 8])
        result._integers[name or next((f.text for f in fields if f.number == 8), "")] = values
    return _size_bytes(dims, dtype)


def _read_value(message: memoryview, result: LeastMemory) -> None:
    """Reads a declared shape: ValueInfoProto, TypeProto, Tensor, TensorShapeProto, Dimension."""
    fields = list(_fields(message))
    name = next((f.text for f in fields if f.number == 1), "")
    for tensor in (t for f in fields if f.number == 2 for t in _fields(f.value) if t.number == 1):
        inner = list(_fields(tensor.value))
        dtype = next((n for f in inner if f.number == 1 for n in _varints(f.value)), 0)
        dims = [d for f in inner if f.number == 2 for d in _fields(f.value) if d.number == 1]
        sizes = [n for d in dims for f in _fields(d.value) if f.number == 1 for n in _varints(f.value)]
        result.add_value(name, _size_bytes(sizes, dtype))


def _varints(data: memoryview) -> Iterator[int]:
    """The signed integers of a field, one or packed."""
    position = 0
    while position < len(data):
        value, position = read_varint(data, position)
        yield value - (1 << 64) if value >> 63 else value


def _size_bytes(dims: list[int], dtype: int) -> int:
    return _product(dims) * (8 if dtype in _BYTE_TYPES else _BITS.get(dtype, 4)) // 8


def _product(sizes: list[int] | tuple[()]) -> int:
    return math.prod(max(size, 0) for size in sizes[:_MAX_RANK]) if sizes else 0
