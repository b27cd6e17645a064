"""`ModelSpec`: the description of a model that its file contains.

The spec is JSON, in the ONNX metadata of an artifact under the key ``cnntk`` and in the ``spec.json`` of a
checkpoint. Reading is strict: a missing, unknown or mistyped field is an error that names it, because a spec
that is understood only in part gives wrong preprocessing.
"""

from __future__ import annotations

import json
from dataclasses import field
from typing import Any, Literal

from cnntk.runtime.artifact.validation import check_spec, parse_document
from cnntk.runtime.codec import as_json, brief, decode
from cnntk.runtime.errors import ArtifactCorrupt, UnsupportedArtifact
from cnntk.runtime.record import Record

__all__ = [
    "IMAGE_INPUT",
    "MAX_SIDE",
    "METADATA_KEY",
    "PREPROCESS_SCOPE",
    "SPEC_VERSION",
    "DataFile",
    "Layer",
    "ModelSpec",
    "Network",
    "Preprocessing",
    "SelfTest",
    "SelfTestCase",
    "TensorSpec",
]

METADATA_KEY = "cnntk"
SPEC_VERSION = 1

IMAGE_INPUT = "image"
"""Name of an input of decoded images, uint8 (N, H, W, C), which the graph preprocesses."""

MAX_SIDE = 1 << 13
"""Limit in pixels of the sides to which images are resized, because memory is allocated by them: 0.8 GB for
a color image in float32."""

_LARGEST = 1e15
"""Limit of scale, mean and std, and of 1 / std, so that normalized values fit into float32."""

PREPROCESS_SCOPE = "preprocess"
"""Prefix of the names of nodes and weights that preprocess images; these nodes are not layers."""

Color = Literal["rgb", "bgr", "gray"]
Resize = Literal["stretch", "shortest", "longest"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Invert = Literal["never", "always", "light-background"]
Levels = Literal["uint8", "float32"]
Layout = Literal["NCHW", "NHWC"]
CropStart = Literal["floor", "round"]
ResizeForm = Literal["operator", "exact", "fast"]
Head = Literal["classifier", "none"]
Pattern = Literal["noise", "ramp", "constant"]


class Preprocessing(Record):
    """Preprocessing of a decoded image, uint8 (H, W, C) RGB or gray, to the network's float32 input.

    The steps, in this order: color, resize, center crop, inversion, padding, ``value * scale``,
    ``(value - mean) / std``, layout. `cnntk.runtime.preprocessing.preprocess` computes them in numpy and
    Pillow, `cnntk.models.preprocess` in torch, `cnntk.exporters.preprocessing` in ONNX, with the same result.
    Sizes are computed in integers (`resized_size`), so that every language rounds them alike.

    Attributes:
        color: Channel order of the network; ``gray`` weighs RGB by ITU-R BT.601, like Pillow's mode ``L``.
        height: Height of the network's input in pixels.
        width: Width of the network's input in pixels.
        resize: Resize rule: ``stretch`` both sides to the size, then center crop; ``shortest`` side to the
            size, then center crop; ``longest`` side to the size, then padding with black on both sides.
        interpolation: Pillow's filter of that name. ``nearest`` takes pixel
            ``floor((2 d + 1) * size / (2 * resized))`` for pixel d, in integers, like Pillow but for
            rounding.
        antialias: Whether the filter is widened when the image shrinks, as in Pillow. Without it, the image
            is sampled at points, as in OpenCV's ``resize`` and torch's ``F.interpolate(antialias=False)``,
            whose bicubic coefficient is -0.75, not -0.5. No effect on ``nearest``.
        levels: Type of resized pixel values: ``uint8``, rounded, as Pillow and OpenCV resize images, or
            ``float32``, neither rounded nor clipped, as float tensors are resized.
        crop_ratio: Ratio of the crop to the resized side, in (0, 1], except with ``longest``; 0.875 is the
            usual 224 of 256.
        crop_start: Rounding of the crop's start if an odd number of pixels is cut off: ``floor`` as in
            transformers, or ``round`` to the even number as in torchvision and timm.
        invert: Rule of inversion, ``v`` to ``255 - v``. ``light-background`` inverts an image if the mean of
            the outermost pixels after resize and crop is above 127.5, so that dark on light and light on dark
            become the same.
        scale: Factor from 0..255 to the range of mean and std, above 0.
        mean: Mean, one value per channel.
        std: Standard deviation, one value per channel, none of them 0.
        background: Color behind transparent pixels, RGB, 0 to 255.
        layout: Layout of the network's input; ``NCHW`` is (N, C, height, width), as in torch.
        resize_form: How a graph resizes: by ONNX's operator Resize, within 1 level of Pillow; ``exact``, by
            matrix products of integers that equal Pillow's resize to the bit; or ``fast``, by the same
            products in float32, where ties may round the other way, and which values that are not rounded
            always have. The host always resizes like Pillow.
    """

    color: Color
    height: int
    width: int
    resize: Resize = "stretch"
    interpolation: Interpolation = "bilinear"
    antialias: bool = True
    levels: Levels = "uint8"
    crop_ratio: float = 1.0
    invert: Invert = "never"
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    background: tuple[int, ...] = (255, 255, 255)
    layout: Layout = "NCHW"
    crop_start: CropStart = "floor"
    resize_form: ResizeForm = "operator"

    def __post_init__(self) -> None:
        channels = self.channels
        valid = {
            "height": 1 <= self.height <= MAX_SIDE,
            "width": 1 <= self.width <= MAX_SIDE,
            "antialias": self.antialias or self.interpolation != "lanczos",
            "resize_form": self.resize_form == "operator"
            or (
                self.antialias
                and self.interpolation != "nearest"
                and (self.levels == "uint8" or self.resize_form == "fast")
            ),
            "crop_ratio": max(self.height, self.width) / MAX_SIDE <= self.crop_ratio <= 1,
            "scale": 0 < self.scale <= _LARGEST,
            "mean": len(self.mean) == channels and all(abs(v) <= _LARGEST for v in self.mean),
            "std": len(self.std) == channels and all(1 / _LARGEST <= abs(v) <= _LARGEST for v in self.std),
            "background": len(self.background) == 3 and all(0 <= v <= 255 for v in self.background),
        }
        for name, holds in valid.items():
            if not holds:
                context = f"{self.interpolation if name in ('antialias', 'resize_form') else self.color!r}"
                raise ValueError(
                    f"Preprocessing.{name} = {brief(getattr(self, name))} is not valid with {context}"
                )

    @property
    def channels(self) -> int:
        """Number of channels of the network's input, 1 or 3."""
        return 1 if self.color == "gray" else 3

    @property
    def keeps_pixels(self) -> bool:
        """Whether the network's input has the values of uint8 pixels."""
        return self.levels == "uint8" and self.scale == 1 and not any(self.mean) and set(self.std) == {1}

    @property
    def edges(self) -> tuple[int, int]:
        """Height and width to which images are resized, from whose center height x width are cropped."""
        return round(self.height / self.crop_ratio), round(self.width / self.crop_ratio)

    def crop_offset(self, excess: int) -> int:
        """Returns the first pixel of the crop along an axis that is ``excess`` pixels longer."""
        return excess // 2 if self.crop_start == "floor" else (excess + (excess // 2) % 2) // 2

    @property
    def fitted_size(self) -> tuple[int, int]:
        """Height and width of an image that needs no resize."""
        return (self.height, self.width) if self.resize == "longest" else self.edges

    @property
    def image_sizes(self) -> dict[str, int]:
        """Sizes of the free dimensions of an image input, for images that need no resize."""
        height, width = self.fitted_size
        return {"H": height, "W": width, "C": self.channels}

    def resized_size(self, height: int, width: int) -> tuple[int, int]:
        """Returns the size to which an image of height x width is resized, before crop and padding.

        ``stretch``: the edges (e, f). ``shortest``: ``max(e, h * e * f // m), max(f, w * e * f // m)`` for
        ``m = min(h * f, w * e)``, which is torchvision's and transformers' ``int(edge * long / short)``.
        ``longest``: with the target (H, W), ``h * H * W / m, w * H * W / m`` for ``m = max(h * W, w * H)``,
        rounded half up and at least 1.
        """
        if self.resize == "stretch":
            return self.edges
        if self.resize == "shortest":
            e, f = self.edges
            least = min(height * f, width * e)
            return height * e * f // least, width * e * f // least
        area, most = self.height * self.width, max(height * self.width, width * self.height)
        rounded = ((2 * side * area + most) // (2 * most) for side in (height, width))
        tall, wide = (max(1, side) for side in rounded)
        return tall, wide


class TensorSpec(Record):
    """Name, numpy dtype and shape of a graph input or output; ``"N"`` in the shape is the batch size."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


class Network(Record):
    """The factory that builds the torch network, a zoo name or ``module:factory``, and its arguments."""

    factory: str
    kwargs: dict[str, Any] = field(default_factory=dict)


class Layer(Record):
    """A layer of the graph.

    Attributes:
        name: Name of the torch module or, without one, of the graph's node.
        op: ONNX operator.
        shape: Shape of the output, with ``"N"`` for the batch size.
        parameters: Number of weights.
        multiply_adds: Multiply-adds for one image; 0 for layers that are not linear maps.
        weights: Names of the initializers that the layer reads, including shared ones.
        output: Name of the first output in the graph.
        inputs: Names of the values that the layer reads: inputs of the graph and outputs of other layers.
        activation_bytes: Bytes of the outputs for one image.
        receptive_field: Input pixels that one output value depends on, along the wider side; None if the
            layer does not depend on an image.
        jump: Input pixels from one output value to the next.
    """

    name: str
    op: str
    shape: tuple[int | str, ...]
    parameters: int
    multiply_adds: int
    weights: tuple[str, ...] = ()
    output: str = ""
    inputs: tuple[str, ...] = ()
    activation_bytes: int = 0
    receptive_field: int | None = None
    jump: int | None = None


class SelfTestCase(Record):
    """One run of the self-test.

    Attributes:
        pattern: Pattern of the inputs; `canonical` has the formulas.
        seed: Seed of the pattern.
        sizes: Sizes of the free dimensions of the inputs, like ``{"N": 2}``.
        expected: Expected values of each output, decimal numbers separated by spaces: every stride-th value
            in row-major order, beginning with the first.
        bounds: Maximum absolute error of each output.
    """

    pattern: Pattern
    seed: int
    sizes: dict[str, int]
    expected: dict[str, str]
    bounds: dict[str, float]


class SelfTest(Record):
    """Canonical inputs that any device can compute, and the expected outputs of the model.

    Attributes:
        cases: Runs of the self-test.
        strides: Distance between the expected values of each output, 1 for all values.
    """

    cases: tuple[SelfTestCase, ...]
    strides: dict[str, int]


class DataFile(Record):
    """The external file with an artifact's large weights, in the same folder.

    Attributes:
        file: Name of the file.
        size_bytes: Size of the file in bytes.
        sha256: SHA-256 of the file, as 64 hex characters.
    """

    file: str
    size_bytes: int
    sha256: str


class ModelSpec(Record):
    """The description of a model in its file.

    Attributes:
        name: Name of the model.
        labels: Class labels in the order of the logits; empty for models other than classifiers.
        inputs: Inputs of the graph; images enter by the first.
        preprocessing: Preprocessing from image to input; None if the app prepares its own arrays.
        head: Type of the outputs; ``classifier`` models have ``logits`` and ``probabilities``.
        network: Factory of the torch network; None if unknown.
        layers: Layers of the graph in the order of execution; empty in a checkpoint.
        provenance: Origin of the model: data, accuracy, versions.
        check_results: Results of the checks at export: ``checks`` (name and detail of each), ``parity``
            (errors and bounds by output), ``graph_lint`` (warnings and peak memory), ``repaired`` and
            ``simplified`` (rewrites that the passes applied), ``weight_origins`` (names of weights by what
            they are made of, but for the source's tensors of the same name). Empty in a checkpoint.
        quantization: Configuration, accuracy, speed and supported CPUs of a quantized model; None for other
            models, whose JSON omits it.
        fingerprints: Fingerprints of the graph's weights by name; empty in a checkpoint.
        self_test: Self-test of an artifact; None in a checkpoint.
        data: External file with weights; None if all weights are inside, and then the JSON omits it.
        digest: SHA-256 of the file with these 64 characters set to zero; empty in a checkpoint. The last
            field.
    """

    name: str
    labels: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    preprocessing: Preprocessing | None = None
    head: Head = "classifier"
    network: Network | None = None
    layers: tuple[Layer, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)
    check_results: dict[str, Any] = field(default_factory=dict)
    quantization: dict[str, Any] | None = None
    fingerprints: dict[str, str] = field(default_factory=dict)
    self_test: SelfTest | None = None
    data: DataFile | None = None
    digest: str = ""

    def to_json(self, indent: int | None = None) -> str:
        """Returns this spec as a JSON document, which ends with the digest."""
        document = {"spec": SPEC_VERSION, **as_json(self)}
        for optional in ("data", "quantization"):
            if document[optional] is None:
                del document[optional]
        return json.dumps(document, ensure_ascii=False, indent=indent)

    @classmethod
    def from_json(cls, text: str | bytes, name: str) -> ModelSpec:
        """Reads a document that `to_json` wrote.

        Args:
            text: JSON document.
            name: Name of its file in messages.

        Raises:
            ArtifactCorrupt: The text is not JSON, a field is missing, unknown, of the wrong type or over a
                limit, or fields contradict each other.
            UnsupportedArtifact: The spec has another version.
        """
        try:
            data = parse_document(text)
        except ValueError as error:
            raise ArtifactCorrupt(f"{name}: its cnntk spec {error}") from error
        if not isinstance(data, dict) or "spec" not in data:
            raise ArtifactCorrupt(f"{name}: its cnntk spec has no field 'spec'")
        version = data.pop("spec")
        if type(version) is not int or version != SPEC_VERSION:
            raise UnsupportedArtifact(
                f"{name}: spec version {brief(version)}; this cnntk reads version {SPEC_VERSION}. "
                "Update cnntk"
            )
        try:
            spec: ModelSpec = decode(cls, data, "spec")
            check_spec(spec)
        except ValueError as error:
            raise ArtifactCorrupt(f"{name}: {error}") from error
        return spec
