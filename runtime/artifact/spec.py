"""`ModelSpec`: what a model file says of itself.

It is JSON under the key ``cnntk``, in the ONNX metadata of an artifact and in the ``spec.json`` of a
checkpoint. Reading is strict: a field that is missing, unknown or of the wrong type is an error that
names it, because a spec that is half understood preprocesses half right.
"""

from __future__ import annotations

import json
import typing
from dataclasses import dataclass, field
from typing import Any, Literal

from cnntk.runtime.codec import as_json, decode
from cnntk.runtime.errors import ArtifactCorrupt, UnsupportedArtifact

__all__ = [
    "IMAGE_INPUT",
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
"""Name of an input of decoded images, uint8 (N, H, W, C): there the graph does the preprocessing."""

PREPROCESS_SCOPE = "preprocess"
"""Begins the names of nodes and weights that prepare images: they are no layers."""

Color = Literal["rgb", "bgr", "gray"]
Resize = Literal["stretch", "shortest", "longest"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Invert = Literal["never", "always", "light-background"]
Levels = Literal["uint8", "float32"]
Layout = Literal["NCHW", "NHWC"]
CropStart = Literal["floor", "round"]
Head = Literal["classifier", "none"]
Pattern = Literal["noise", "ramp", "constant"]


@dataclass(frozen=True)
class Preprocessing:
    """From a decoded image, uint8 (H, W, C) RGB or gray, to the network's float32 input.

    In this order: color, resize, center crop, inversion, padding, ``value * scale``,
    ``(value - mean) / std``, layout. `cnntk.runtime.preprocessing.preprocess` does it in numpy and Pillow,
    `cnntk.models.preprocess` in torch, `cnntk.exporters.preprocessing` in ONNX, with one result. Sizes are
    integers throughout (`resized_size`), so that every language rounds them alike.

    Attributes:
        color: channel order of the network; ``gray`` weighs RGB by ITU-R BT.601, as Pillow's ``L``.
        height: of the network's input, in pixels.
        width: of the network's input, in pixels.
        resize: ``stretch`` to height x width; ``shortest`` side to the size, then a center crop;
            ``longest`` side to the size, then padding with black on both sides.
        interpolation: Pillow's filter of that name. ``resize_nearest`` takes the pixel
            ``floor((2 d + 1) * size / (2 * resized))`` for the pixel d, in whole numbers, as Pillow means to.
        antialias: widen the filter where the image shrinks, as Pillow does. Without it the image is sampled
            at points, as by OpenCV's ``resize`` and torch's ``F.interpolate(antialias=False)``, for whose
            bicubic the cubic's coefficient is -0.75 and not -0.5. Nothing to ``resize_nearest``.
        levels: what resized levels are: ``uint8``, rounded to whole levels, as Pillow and cv2 resize images,
            or ``float32``, neither rounded nor clipped, as tensors of floats are resized.
        crop_ratio: with ``shortest``: the crop's share of the resized side, in (0, 1]; 0.875 is the
            usual 224 of 256.
        crop_start: where the crop begins, if what is cut off is an odd number of pixels: ``floor`` halves it
            downwards, as transformers; ``round`` to the even number, as torchvision and timm.
        invert: ``light-background`` turns ``v`` into ``255 - v`` where the mean over the outermost pixels of
            the resized and cropped image is above 127.5, so that dark on light and light on dark read the
            same.
        scale: factor that takes 0..255 to the range of mean and std, above 0.
        mean: one value a channel.
        std: one value a channel, none of them 0.
        background: RGB, 0 to 255; what shows through where an image is transparent.
        layout: of the network's own input: ``NCHW`` is (N, C, height, width), as torch has it.
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

    def __post_init__(self) -> None:
        channels = self.channels
        checks = {
            "height": self.height >= 1,
            "width": self.width >= 1,
            "antialias": self.antialias or self.interpolation != "lanczos",
            "crop_ratio": 0 < self.crop_ratio <= 1,
            "scale": self.scale > 0,
            "mean": len(self.mean) == channels,
            "std": len(self.std) == channels and all(self.std),
            "background": len(self.background) == 3 and all(0 <= v <= 255 for v in self.background),
        }
        for name, holds in checks.items():
            if not holds:
                raise ValueError(
                    f"Preprocessing.{name} = {getattr(self, name)!r} does not fit "
                    f"{self.interpolation if name == 'antialias' else self.color!r}"
                )

    @property
    def channels(self) -> int:
        """How many channels the network sees."""
        return 1 if self.color == "gray" else 3

    @property
    def edges(self) -> tuple[int, int]:
        """Height and width that ``shortest`` covers, of which the center height x width remain."""
        return round(self.height / self.crop_ratio), round(self.width / self.crop_ratio)

    def crop_offset(self, room: int) -> int:
        """The first pixel of a crop, of an axis that is ``room`` pixels longer."""
        return room // 2 if self.crop_start == "floor" else (room + (room // 2) % 2) // 2

    @property
    def fitted_size(self) -> tuple[int, int]:
        """Height and width of an image in which there is nothing to resize."""
        return self.edges if self.resize == "shortest" else (self.height, self.width)

    @property
    def image_sizes(self) -> dict[str, int]:
        """The free dimensions of an input of images, where there is nothing to resize."""
        height, width = self.fitted_size
        return {"H": height, "W": width, "C": self.channels}

    def resized_size(self, height: int, width: int) -> tuple[int, int]:
        """The size to which an image of height x width is resized, before crop and padding.

        ``shortest``: with the edges (e, f), ``max(e, h * e * f // m), max(f, w * e * f // m)`` for
        ``m = min(h * f, w * e)``, which is torchvision's and transformers' ``int(edge * long / short)``.
        ``longest``: with the target (H, W), ``h * H * W / m, w * H * W / m`` for ``m = max(h * W, w * H)``,
        rounded half up and at least 1.
        """
        if self.resize == "stretch":
            return self.height, self.width
        if self.resize == "shortest":
            e, f = self.edges
            least = min(height * f, width * e)
            return height * e * f // least, width * e * f // least
        area, most = self.height * self.width, max(height * self.width, width * self.height)
        rounded = ((2 * side * area + most) // (2 * most) for side in (height, width))
        tall, wide = (max(1, side) for side in rounded)
        return tall, wide


@dataclass(frozen=True)
class TensorSpec:
    """A tensor at the edge of the graph: its name, numpy dtype, and shape with ``"N"`` for the batch."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class Network:
    """How to build the torch network again: a zoo name or ``module:factory``, and its arguments."""

    factory: str
    kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Layer:
    """One layer of the graph.

    Attributes:
        name: of the torch module or, for what has none, of the graph's node.
        op: ONNX operator.
        shape: of its output, with ``"N"`` for the batch.
        parameters: how many weights it holds.
        multiply_adds: of one image; 0 where the layer is no linear map.
        weights: names of the graph's initializers that it reads, shared ones too.
        output: name of its first output in the graph.
        inputs: names of the values that it reads: the graph's inputs and other layers' outputs.
        activation_bytes: what its outputs take in memory for one image.
        receptive_field: how many input pixels one of its outputs sees along the wider side; None where
            there is no image before it.
        jump: input pixels from one of its outputs to the next.
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


@dataclass(frozen=True)
class SelfTestCase:
    """One run of the self-test.

    Attributes:
        pattern: of the inputs; `canonical` has the formulas.
        seed: of the pattern.
        sizes: of the inputs' free dimensions, like ``{"N": 2}``.
        expected: For each output decimal numbers, separated by spaces: every stride-th value, from the first
            on, rows first.
        bounds: for each output, how far an answer may be from the one here.
    """

    pattern: Pattern
    seed: int
    sizes: dict[str, int]
    expected: dict[str, str]
    bounds: dict[str, float]


@dataclass(frozen=True)
class SelfTest:
    """Inputs that any device can make, and what a sound copy of the model answers to them.

    Attributes:
        cases: one run each.
        strides: for each output, how many values are passed over from one to the next.
    """

    cases: tuple[SelfTestCase, ...]
    strides: dict[str, int]


@dataclass(frozen=True)
class DataFile:
    """The file beside an artifact, in the same folder, that holds its large weights.

    Attributes:
        file: its name.
        size_bytes: of it.
        sha256: of all its bytes, as 64 hex characters.
    """

    file: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class ModelSpec:
    """What a model file says of itself.

    Attributes:
        name: of the model, for people.
        labels: of the classes, in the order of the logits; empty for models that are no classifiers.
        inputs: of the graph; images become the first.
        preprocessing: from image to input; None where the app prepares its own arrays.
        head: ``classifier`` models answer ``logits`` and ``probabilities``.
        network: how to build the torch network; None where that is not known.
        layers: of the graph, in the order of the data; empty in a checkpoint.
        provenance: where it comes from: data, accuracy, versions.
        check_results: Results of the checks at export: ``checks`` (name and detail of each), ``parity``
            (errors and bounds by output), ``graph_lint`` (warnings and peak memory), ``repaired`` and
            ``simplified`` (rewrites that the passes applied). Empty in a checkpoint.
        quantization: how it was quantized, what that cost and won, and on which CPUs it holds; None for a
            model that is not quantized, and then it does not stand in the JSON.
        fingerprints: of the graph's weights, by name; empty in a checkpoint.
        self_test: None in a checkpoint.
        data: the file beside it; None where all weights are inside, and then it does not stand in the JSON.
        digest: SHA-256 of the file with these 64 characters zeroed; empty in a checkpoint. Stands last.
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
        """This spec as a JSON document, which ends with the digest."""
        document = {"spec": SPEC_VERSION, **as_json(self)}
        for optional in ("data", "quantization"):
            if document[optional] is None:
                del document[optional]
        return json.dumps(document, ensure_ascii=False, indent=indent)

    @classmethod
    def from_json(cls, text: str | bytes, where: str) -> ModelSpec:
        """Reads what `to_json` wrote.

        Args:
            text: the JSON document.
            where: the file it comes from, for messages.

        Raises:
            ArtifactCorrupt: it is no JSON, or a field is missing, unknown or of the wrong type.
            UnsupportedArtifact: it is of a later version of the spec.
        """
        try:
            data = json.loads(text)
        except ValueError as error:
            raise ArtifactCorrupt(f"{where}: its cnntk spec is no JSON ({error})") from error
        if not isinstance(data, dict) or "spec" not in data:
            raise ArtifactCorrupt(f"{where}: its cnntk spec has no field 'spec'")
        version = data.pop("spec")
        if version != SPEC_VERSION:
            raise UnsupportedArtifact(
                f"{where}: spec version {version!r}; this cnntk reads version {SPEC_VERSION}. Update cnntk"
            )
        try:
            spec = decode(cls, data, "spec")
        except ValueError as error:
            raise ArtifactCorrupt(f"{where}: {error}") from error
        return typing.cast("ModelSpec", spec)
