"""Checks of a whole spec, in one place, when it is read.

Whoever writes a file writes its spec and the digest that matches it, so nothing in a spec is trusted: neither
types, which `decode` checks, nor sizes, which memory is allocated by, nor that its fields agree.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Any, TypeAlias, TypedDict

from cnntk.runtime.codec import brief, decode

__all__ = ["check_interface", "check_spec", "parse_document"]

# Types of `cnntk.runtime.artifact.spec`, which imports this module.
ModelSpec: TypeAlias = Any
SelfTestCase: TypeAlias = Any
TensorSpec: TypeAlias = Any

MAX_BYTES = 16 << 20
"""Size limit of a spec. LeNet's has 13 kB, and a network of 1,000 layers and 20,000 labels under 1 MB."""

MAX_DEPTH = 24
"""Limit of nested lists and objects, so that no reader runs out of stack; an export nests 7."""

MAX_LAYERS = 20_000
"""Limit of layers: a network of 200 blocks has 3,000, and 20,000 are read in a second."""
MAX_CASES = 64
MAX_RANK = 16
MAX_TEST_VALUES = 1 << 27
"""Limit of the values of all inputs of a self-test's case: two images of 4,700 x 4,700 pixels in color."""

_HEX = frozenset("0123456789abcdef")
_DTYPES = frozenset(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)) | {
    "bool",
    "float16",
    "float32",
    "float64",
}


class _CheckText(TypedDict):
    name: str
    detail: str


class _ParityRow(TypedDict):
    output: str
    onnx_error: float | None
    bound: float | None


class _NamedParityRow(_ParityRow, total=False):
    kind: str
    reference: str


class _GraphLint(TypedDict, total=False):
    warnings: tuple[str, ...]
    peak_activation_bytes: int | None
    peak_layer: str | None


class _CheckResults(TypedDict, total=False):
    """The results that `inspect` shows; a later version may add others."""

    checks: tuple[_CheckText, ...]
    parity: tuple[_NamedParityRow, ...]
    graph_lint: _GraphLint
    repaired: tuple[str, ...]
    weight_origins: dict[str, tuple[str, ...]]


class _TemperatureFit(TypedDict):
    temperature: float
    data: str
    images: int
    ece_before: float
    ece_after: float


class _Provenance(TypedDict, total=False):
    outputs: dict[str, str]
    calibration: _TemperatureFit


class _Plan(TypedDict):
    precision: str


class _Config(TypedDict, total=False):
    layers: dict[str, _Plan]


class _Accuracy(TypedDict):
    images: int
    drop: float | None
    drop_low: float | None
    drop_high: float | None


class _Speed(TypedDict):
    ratio: float
    low: float
    high: float
    machine: str


class _Quantization(TypedDict, total=False):
    config: _Config
    accuracy: _Accuracy | None
    speed: _Speed | None
    portable_to: str
    operators: str


def parse_document(text: str | bytes) -> Any:
    """Parses JSON that anybody may have written, within the limits of a spec.

    Raises:
        ValueError: The text is not JSON as RFC 8259 has it, a name appears twice in one object, or a limit is
            exceeded.
    """
    if len(text) > MAX_BYTES:
        raise ValueError(f"has {len(text):,} bytes, over the limit of {MAX_BYTES:,}")
    try:
        text = text if isinstance(text, str) else text.decode()
        document = _DECODER.decode(text)
        layers = document.get("layers") if isinstance(document, dict) else None
        if isinstance(layers, list) and len(layers) > MAX_LAYERS:  # before they are decoded, in seconds
            raise _LimitError(f"has {len(layers):,} layers, over the limit of {MAX_LAYERS:,}")
        _check_values(document)
        if "\\u" in text:  # only an escape can write NUL and half a surrogate pair
            if re.search(r"(?<!\\)(?:\\\\)*\\u0000", text):
                raise _LimitError("contains the character NUL")
            json.dumps(document, ensure_ascii=False).encode()
    except _LimitError:
        raise
    except RecursionError:
        raise ValueError(f"is nested deeper than {MAX_DEPTH} lists and objects") from None
    except ValueError as error:
        raise ValueError(f"is not valid JSON ({error})") from error
    return document


class _LimitError(ValueError):
    """JSON of which a reader could make something else, or too much."""


def check_spec(spec: ModelSpec) -> None:
    """Checks what the types of a spec's fields leave open.

    Raises:
        ValueError: A field is out of its limits, or contradicts another.
    """
    _check_tensors(spec.inputs)
    _check_preprocessing(spec)
    for i, layer in enumerate(spec.layers):
        counts = (layer.parameters, layer.multiply_adds, layer.activation_bytes)
        if min(*counts, layer.receptive_field or 0, layer.jump or 0) < 0:
            raise ValueError(f"spec.layers[{i}] has a negative number")
    _check_provenance(spec.provenance)
    decode(_CheckResults, spec.check_results, "spec.check_results")
    if spec.quantization is not None:
        _check_quantization(spec.quantization)
    if spec.self_test is not None:
        _check_self_test(spec)
    if spec.data is not None:
        _check_data_file(spec.data.file, spec.data.size_bytes, spec.data.sha256)
    if spec.digest and not _is_sha256(spec.digest):
        raise ValueError(f"spec.digest is {brief(spec.digest)}, not 64 hex characters")


def check_interface(spec: ModelSpec, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> None:
    """Checks that a spec describes the graph in its file.

    Args:
        spec: Spec that `check_spec` accepted.
        inputs: Inputs of the graph.
        outputs: Outputs of the graph.

    Raises:
        ValueError: It has other inputs, outputs or classes.
    """
    if len(spec.inputs) != len(inputs) or not all(map(_agrees, spec.inputs, inputs)):
        raise ValueError(f"spec.inputs are {_text(spec.inputs)}, but the graph takes {_text(inputs)}")
    for tensor in spec.inputs:
        if tensor.dtype not in _DTYPES:
            raise ValueError(f"spec.inputs: {brief(tensor.name)} is {tensor.dtype}, which numpy lacks")
    by_name = {output.name: output for output in outputs}
    if spec.head == "classifier" and (probabilities := by_name.get("probabilities")) is not None:
        classes = probabilities.shape[-1] if len(probabilities.shape) == 2 else None
        if classes is None or not probabilities.dtype.startswith("float"):
            raise ValueError(f"spec.head is classifier, but the graph returns {_text([probabilities])}")
        if spec.labels and isinstance(classes, int) and len(spec.labels) != classes:
            raise ValueError(
                f"spec.labels has {len(spec.labels)} labels, but the graph has {classes} classes"
            )
    if spec.self_test is not None:
        for name in dict.fromkeys(name for case in spec.self_test.cases for name in case.expected):
            if name not in by_name:
                raise ValueError(f"spec.self_test expects the output {brief(name)}, which the graph lacks")
            if by_name[name].dtype not in _DTYPES:
                raise ValueError(f"spec.self_test expects numbers of {brief(name)}: {by_name[name].dtype}")


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; readers disagree about which of two equal names counts."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        raise _LimitError(
            f"has the field {brief(next(n for n in names if names.count(n) > 1))} twice in one object"
        )
    return fields


def _refuse_constant(name: str) -> Any:
    raise _LimitError(f"contains {name}, which is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique_names, parse_constant=_refuse_constant)


def _check_values(document: Any) -> None:
    """Checks depth and numbers, level by level, in a tenth of a millisecond for 1,000 values."""
    level: list[Any] = [[document]]
    for _ in range(MAX_DEPTH + 1):
        items = [i for each in level for i in (each.values() if type(each) is dict else each)]
        level = []
        for item in items:
            kind = type(item)
            if kind is dict or kind is list:
                level.append(item)
            elif (kind is float and not math.isfinite(item)) or (
                kind is int and not -1 << 63 <= item < 1 << 63
            ):
                raise _LimitError(f"contains the number {brief(item)}, which has no 64 bits")
        if not level:
            return
    raise _LimitError(f"is nested deeper than {MAX_DEPTH} lists and objects")


def _check_tensors(tensors: tuple[TensorSpec, ...]) -> None:
    if not tensors or len({t.name for t in tensors}) < len(tensors):
        raise ValueError("spec.inputs is empty, or has a name twice")
    for i, tensor in enumerate(tensors):
        if tensor.dtype not in _DTYPES and tensor.dtype != "bfloat16":  # as a checkpoint may say
            raise ValueError(f"spec.inputs[{i}].dtype is {brief(tensor.dtype)}, not a type of tensors")
        if len(tensor.shape) > MAX_RANK or any(d < 1 if isinstance(d, int) else not d for d in tensor.shape):
            raise ValueError(f"spec.inputs[{i}].shape is {brief(list(tensor.shape))}, expected sizes from 1")


def _check_preprocessing(spec: ModelSpec) -> None:
    """Checks that the first input takes what preprocessing makes."""
    p = spec.preprocessing
    if p is None:
        return
    tensor = spec.inputs[0]
    if tensor.dtype == "uint8":
        expected: tuple[int | str, ...] = ("N", "H", "W", p.channels)
    elif p.layout == "NHWC":
        expected = ("N", p.height, p.width, p.channels)
    else:
        expected = ("N", p.channels, p.height, p.width)
    sizes = zip(tensor.shape, expected, strict=False)
    if len(tensor.shape) != 4 or any(isinstance(a, int) and isinstance(b, int) and a != b for a, b in sizes):
        raise ValueError(
            f"spec.preprocessing makes {brief(list(expected))}, but spec.inputs is {_text([tensor])}"
        )


def _check_provenance(record: dict[str, Any]) -> None:
    decode(_Provenance, record, "spec.provenance")
    if (fit := record.get("calibration")) is not None and min(fit["temperature"], fit["images"]) <= 0:
        raise ValueError("spec.provenance.calibration has a temperature or a number of images not above 0")


def _check_quantization(record: dict[str, Any]) -> None:
    decode(_Quantization, record, "spec.quantization")
    if (speed := record.get("speed")) is not None and min(speed["ratio"], speed["low"], speed["high"]) <= 0:
        raise ValueError("spec.quantization.speed has a ratio that is not above 0")
    if (accuracy := record.get("accuracy")) is not None:
        drops = [accuracy[name] for name in ("drop", "drop_low", "drop_high")]
        if None in drops and any(drop is not None for drop in drops):
            raise ValueError("spec.quantization.accuracy has a drop without its interval")


def _check_self_test(spec: ModelSpec) -> None:
    test = spec.self_test
    if test is None or not 0 < len(test.cases) <= MAX_CASES:
        raise ValueError(f"spec.self_test.cases has no case, or over {MAX_CASES}")
    for i, case in enumerate(test.cases):
        path = f"spec.self_test.cases[{i}]"
        if not 0 <= case.seed < 1 << 32:
            raise ValueError(f"{path}.seed is {case.seed}, not of 32 bits")
        _check_sizes(spec.inputs, case, path)
        if not case.expected or case.expected.keys() != case.bounds.keys():
            raise ValueError(f"{path} needs expected values and a bound for each output, for the same ones")
        for name, text in case.expected.items():
            if test.strides.get(name, 0) < 1:
                raise ValueError(f"spec.self_test.strides has no number from 1 for the output {brief(name)}")
            if case.bounds[name] < 0 or not _are_numbers(text):
                raise ValueError(f"{path} expects {brief(text)} +- {case.bounds[name]} of {brief(name)}")


def _check_sizes(inputs: tuple[TensorSpec, ...], case: SelfTestCase, path: str) -> None:
    if any(size < 1 for size in case.sizes.values()):
        raise ValueError(f"{path}.sizes is {brief(case.sizes)}, expected sizes from 1")
    values = 0
    for tensor in inputs:
        free = [d for d in tensor.shape if isinstance(d, str)]
        if missing := [d for d in free if d not in case.sizes]:
            raise ValueError(
                f"{path}.sizes lacks the size of {brief(missing[0])} of input {brief(tensor.name)}"
            )
        values += math.prod(d if isinstance(d, int) else case.sizes[d] for d in tensor.shape)
    if values > MAX_TEST_VALUES:
        raise ValueError(
            f"{path}.sizes makes inputs of {values:,} values, over the limit of {MAX_TEST_VALUES:,}"
        )


def _are_numbers(text: str) -> bool:
    try:
        return all(map(math.isfinite, map(float, text.split())))
    except ValueError:
        return False


def _check_data_file(name: str, size_bytes: int, sha256: str) -> None:
    """Checks the name of the data file: a plain one on every system, as the file is beside the artifact."""
    if (
        name in ("", ".", "..")
        or len(name) > 255
        or not name.isprintable()
        or any(c in name for c in '/\\:*?"<>|')
    ):
        raise ValueError(f"spec.data.file is {brief(name)}, not the name of a file in the artifact's folder")
    if size_bytes < 1 or not _is_sha256(sha256):
        raise ValueError("spec.data has no size from 1 byte, or no SHA-256 of 64 hex characters")


def _is_sha256(text: str) -> bool:
    return len(text) == 64 and _HEX.issuperset(text)


def _agrees(stated: TensorSpec, actual: TensorSpec) -> bool:
    """Whether an input has the stated fixed sizes; the graph may fix others, and names free ones itself."""
    sizes = zip(stated.shape, actual.shape, strict=False)
    return (stated.name, stated.dtype, len(stated.shape)) == (
        actual.name,
        actual.dtype,
        len(actual.shape),
    ) and all(a == b or not isinstance(a, int) for a, b in sizes)


def _text(tensors: Iterable[TensorSpec]) -> str:
    text = ", ".join(f"{t.name}: {t.dtype} {list(t.shape)}" for t in tensors)[:200]
    return text if text.isprintable() else ascii(text)
