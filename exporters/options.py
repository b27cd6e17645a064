"""`ExportOptions`: everything a user can say about an export. Imports neither torch nor onnx."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from cnntk.runtime.artifact.spec import TensorSpec
from cnntk.runtime.errors import UsageError
from cnntk.runtime.files import readable_file
from cnntk.runtime.preprocessing.choice import PreprocessingChoice, parse_preprocessing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cnntk.runtime.images.reading import ImageSource
else:  # the command line reads the annotations, without numpy and Pillow
    NDArray, ImageSource = tuple, Any

__all__ = [
    "INPUT",
    "LABELS_OPTION",
    "PREPROCESSING_OPTION",
    "Dtype",
    "ExportOptions",
    "HeadOption",
    "InputShape",
    "PreprocessOption",
    "ResizeOption",
    "SamplesLike",
    "SimplifyOption",
    "format_input",
    "parse_input",
    "read_labels",
]

InputShape = tuple[int, ...] | Mapping[str, tuple[int, ...] | TensorSpec]
"""(C, H, W) of the only input, or each input's shape by name; without the batch, but in a `TensorSpec`."""

Dtype = Literal["auto", "float32", "float16", "float64"]
PreprocessOption = Literal["graph", "host", "none"]
ResizeOption = Literal["exact", "fast"]
HeadOption = Literal["auto", "classifier", "none"]
SimplifyOption = Literal["safe", "none"]

SamplesLike = str | os.PathLike[str] | Mapping[str, NDArray[Any]] | Sequence[ImageSource]
"""A folder of images, an ``.npz`` file, arrays by input, or images."""


INPUT = "input"
"""Default name of a single input."""

DTYPES = ("float16", "bfloat16", "float32", "float64", "uint8", "int8", "int16", "int32", "int64", "bool")

_SPEC = re.compile(r"(?:(?P<name>[^=,]+)=)?(?P<shape>\d+(?:x\d+)*)(?::(?P<dtype>\w+))?")


def parse_input(text: str) -> InputShape:
    """Parses ``3x224x224`` to (3, 224, 224), and ``image=3x224x224,age=1`` to a dict of shapes by name.

    A type may follow a shape, like ``77:int64``; by default an input has the type of the network's weights.

    Raises:
        UsageError: The text has another form.
    """
    matches = [_SPEC.fullmatch(one.strip()) for one in text.split(",")]
    if len(matches) == 1 and (only := matches[0]) is not None and only["name"] is None:
        shape = _sizes(text, only["shape"])
        if len(shape) == 3:
            return shape if only["dtype"] is None else {INPUT: _spec(text, INPUT, shape, only["dtype"])}
    shapes: dict[str, tuple[int, ...] | TensorSpec] = {}
    for match in matches:
        if match is None or match["name"] is None or match["name"] in shapes:
            raise _malformed(text)
        name, shape = match["name"], _sizes(text, match["shape"])
        shapes[name] = shape if match["dtype"] is None else _spec(text, name, shape, match["dtype"])
    return shapes


def format_input(shape: InputShape) -> str:
    """Formats shapes as `parse_input` reads them."""
    if not isinstance(shape, Mapping):
        return "x".join(map(str, shape))
    texts = {
        name: ("x".join(map(str, value.shape[1:])) + f":{value.dtype}")
        if isinstance(value, TensorSpec)
        else "x".join(map(str, value))
        for name, value in shape.items()
    }
    return ",".join(f"{name}={text}" for name, text in texts.items())


def _sizes(text: str, shape: str) -> tuple[int, ...]:
    sizes = tuple(map(int, shape.lower().split("x")))
    if not all(sizes):
        raise _malformed(text)
    return sizes


def _spec(text: str, name: str, shape: tuple[int, ...], dtype: str) -> TensorSpec:
    if dtype not in DTYPES:
        raise UsageError(f"--input {text!r}: unknown type {dtype!r}; choose one of {', '.join(DTYPES)}")
    return TensorSpec(name, dtype, ("N", *shape))


def _malformed(text: str) -> UsageError:
    return UsageError(
        f"--input {text!r}: expected channels x height x width, like 3x224x224, "
        "or several inputs by name, like image=3x224x224,age=1"
    )


def _parse_value(text: str) -> Any:
    """``text`` as JSON where it is JSON (numbers, true, lists), else as text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def read_labels(file: str) -> tuple[str, ...]:
    """Reads labels from a text file, one a line.

    Raises:
        UsageError: There is no such file, or it has no labels.
    """
    try:
        text = readable_file(file, "a text file of labels").read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{file}: not valid UTF-8 text; expected one label a line") from None
    labels = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not labels:
        raise UsageError(f"{file}: no labels; expected one a line")
    return labels


PREPROCESSING_OPTION = {"metavar": "PRESET|K=V", "repeated": True, "parse": parse_preprocessing}
"""Metadata of a field that is a `PreprocessingChoice`, for the command line."""

LABELS_OPTION = {"metavar": "FILE", "parse": read_labels}
"""Metadata of a field with the names of classes, for the command line."""

_SOURCE, _PREPROCESSING, _CHECKS, _DEVICE, _FILE = (
    {"group": title} for title in ("Source", "Preprocessing", "Checks", "Device", "Output")
)

_CHOICES = {
    "dtype": Dtype,
    "head": HeadOption,
    "preprocess": PreprocessOption,
    "resize": ResizeOption,
    "simplify": SimplifyOption,
}


@dataclass(frozen=True)
class ExportOptions:
    """Options of `export`.

    Attributes:
        input_shape: Shape (C, H, W) of the network's input, or of each input by name, like
            image=3x64x64,tabular=5 on the command line; by default as the source says.
        weights: Weights for sources that have none: .safetensors, its .index.json, .pt, .pth, .ckpt or .bin;
            FILE#KEY takes those under a key in it.
        kwargs: Arguments of the factory, or fields of a model's configuration.
        labels: Names of the classes in the order of the logits; a text file with one a line on the command
            line. By default as the source says, else their numbers.
        random: Use seeded random weights, to try an export.
        trust: Run the code that the source's file names or holds: a checkpoint's factory outside the zoo, a
            .pt2 that needs more than plain data. It runs with your rights, like a program that you start.
        seed: Seed of the random weights.
        dtype: Type of the weights and inputs; auto: the source's, but float32 where onnxruntime has no CPU
            kernels for it (bfloat16, and convolutions in float64), which is noted. Outputs of a classifier
            are float32 in any case.
        head: Whether the model is a classifier with logits and probabilities; auto: as the source and its
            outputs say.
        allow_double_softmax: Accept a softmax of a softmax.
        preprocess: Where images are preprocessed: in the graph, whose input is uint8 (N, H, W, C) of any
            size; on the host, as the spec says; or none: the file takes arrays only.
        preprocessing: Preprocessing where the source has none, or other: imagenet, imagenet-bicubic, clip,
            inception, mnist, cifar10, unit (0 to 1), none (0 to 255), and fields of `Preprocessing` like
            mean=0.5,0.5,0.5, which replace those of the preset or the source. A whole `Preprocessing` is used
            for sources that have none.
        resize: Arithmetic of the resize in the graph, for networks of 96 pixels and more: exact equals Pillow
            to the bit; fast computes in float32, where ties may round the other way, by 1 of 255, and is used
            where values are not rounded.
        tolerance: Your own limit of the error, relative to the largest output, like 0.001. On ordinary images
            it holds where it is stricter than the derived limit; on inputs that no photograph resembles
            (black, white, one bright pixel, values of ±1e4 and denormal ones) where it is laxer. A classifier
            whose derived limit is over 1 % on ordinary images is refused, unless this accepts it. Both limits
            are in the report and in the artifact.
        samples: Also check the export on these inputs: a folder of images, or an .npz with an array (n, ...)
            per input; in Python also arrays by input, or images. The first 4 are used, 2 for large networks.
        opset: Version of ONNX's operators, 11 to 25 (default: 18, which loads in every runtime that was
            tried). An operator that does not exist there is refused by name.
        batch: Fixed number of images of a run, for devices that need fixed sizes; by default any.
            `Engine.run_many` and `Classifier` fill up smaller batches and split larger ones.
        static_size: Fix height and width of the image input to the network's own size, so that the graph has
            no resize. Whoever reads the image resizes it (and pads it), as `Classifier` does.
        simplify: Rewrites of the graph: safe ones, each checked; or none, but repairs and what an older opset
            needs.
        layer_errors: Measure the error of each layer for the report.
        external_data: Write weights of 64 KiB and more to a .data file beside the .onnx file, which processes
            can share. Weights of over 2 GB, protobuf's limit, always are.
        force: Replace an existing file.
    """

    input_shape: InputShape | None = field(
        default=None, metadata={"flag": "--input", "metavar": "CxHxW", "parse": parse_input, **_SOURCE}
    )
    weights: str | None = field(default=None, metadata={"metavar": "FILE", **_SOURCE})
    kwargs: Mapping[str, Any] = field(default_factory=dict, metadata={"parse": _parse_value, **_SOURCE})
    labels: Sequence[str] | None = field(default=None, metadata={**LABELS_OPTION, **_SOURCE})
    random: bool = field(default=False, metadata=_SOURCE)
    trust: bool = field(default=False, metadata=_SOURCE)
    seed: int = field(default=0, metadata={"min": 0, "max": 2**63 - 1, **_SOURCE})
    dtype: Dtype = field(default="auto", metadata=_SOURCE)
    head: HeadOption = field(default="auto", metadata=_SOURCE)
    allow_double_softmax: bool = field(default=False, metadata=_CHECKS)
    preprocess: PreprocessOption = field(default="graph", metadata=_PREPROCESSING)
    preprocessing: PreprocessingChoice | None = field(
        default=None, metadata={**PREPROCESSING_OPTION, **_PREPROCESSING}
    )
    resize: ResizeOption = field(default="exact", metadata=_PREPROCESSING)
    tolerance: float | None = field(default=None, metadata={"min": 0, **_CHECKS})
    samples: SamplesLike | None = field(default=None, metadata={"metavar": "PATH", **_CHECKS})
    opset: int | None = field(default=None, metadata={"min": 11, "max": 25, **_DEVICE})
    batch: int | None = field(default=None, metadata={"min": 1, **_DEVICE})
    static_size: bool = field(default=False, metadata=_DEVICE)
    simplify: SimplifyOption = field(default="safe", metadata=_DEVICE)
    layer_errors: bool = field(default=False, metadata={"flag": None})
    external_data: bool = field(default=False, metadata=_FILE)
    force: bool = field(default=False, metadata=_FILE)

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in get_args(choices):
                raise UsageError(
                    f"{name}: {getattr(self, name)!r}, expected one of {', '.join(get_args(choices))}"
                )
        for name, low, high in (("opset", 11, 25), ("batch", 1, None)):
            value = getattr(self, name)
            if value is not None and (value < low or (high is not None and value > high)):
                limits = f"at least {low}" if high is None else f"{low} to {high}"
                raise UsageError(f"{name}: {value}, expected {limits}")
