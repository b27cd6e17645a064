"""The model card of a page: what the file takes and gives, where it comes from, and one answer of it."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from PIL import Image

from cnntk.benchmark.machine import detect_machine
from cnntk.data.calibration import CalibrationImage, calibration_images
from cnntk.runtime.artifact.canonical import canonical_bytes
from cnntk.runtime.artifact.digest import sha256_of
from cnntk.runtime.artifact.spec import IMAGE_INPUT, ModelSpec, Preprocessing, TensorSpec
from cnntk.runtime.classifier import Classifier
from cnntk.runtime.errors import CnntkError
from cnntk.runtime.images.reading import Pixels, read_image
from cnntk.runtime.preprocessing.steps import preprocessing_text
from cnntk.runtime.sections import Header, amount, dims, first_names, percent, shorten, size_text
from cnntk.verification.inspection import Inspection, inspect

__all__ = ["Example", "ModelCard", "model_card"]

_MAX_PICTURE = 320
"""Height and width in pixels of a picture in a page; larger ones are resized."""

_TOP = 5
_NAMED_LABELS = 3

_DIGITS = ("digits", "mnist")
"""Data of models that read handwritten digits, of which scikit-learn has some."""

_PACKAGES = {"timm": "timm:", "torchvision": "torchvision.models:", "transformers": "transformers:"}
"""How `cnntk export` names the networks of a package, by the package whose version the file records."""


@dataclass(frozen=True)
class Example:
    """A picture, and the model's answer to it.

    Attributes:
        png: Picture as base64 of a PNG file.
        width: Width of the picture in pixels.
        height: Height of the picture in pixels.
        caption: Sentence that says which picture it is.
        answers: Most probable labels with their probabilities, 0 to 1, the best first.
    """

    png: str
    width: int
    height: int
    caption: str
    answers: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class ModelCard:
    """What a page says about a model's file.

    Attributes:
        what: Sentence that says what the model does.
        lines: Labels and texts for whoever builds on the file.
        labels: Class labels in the order of the logits.
        example: A picture with the model's answer; None where the model takes no images or gives no labels.
    """

    what: str
    lines: tuple[tuple[str, str], ...]
    labels: tuple[str, ...]
    example: Example | None


def model_card(header: Header) -> ModelCard | None:
    """The card of the file that a result is about; None where it is not there, or is another one by now."""
    path = Path(header.model)
    if not header.model or not path.is_file():
        return None
    sha256 = sha256_of(path)
    inspection = inspect(path)
    spec = inspection.spec
    if header.digests and header.digests[0] not in (sha256, spec.digest if spec else ""):
        return None
    return ModelCard(
        what=_what(inspection),
        lines=tuple(line for line in _lines(inspection, sha256, header.machine) if line[1]),
        labels=spec.labels if spec is not None else (),
        example=None if spec is None else _example(path, spec, header.images),
    )


def _what(inspection: Inspection) -> str:
    spec = inspection.spec
    size = ""
    if inspection.layers:
        layers = f"{len(inspection.layers)} layer{'s' * (len(inspection.layers) != 1)}"
        size = f" It has {layers} and {amount(inspection.parameters)} weights."
    if spec is not None and spec.labels:
        kind = "" if spec.quantization is None else ", computing in integers"
        names = first_names([shorten(label.partition(",")[0], 24) for label in spec.labels], _NAMED_LABELS)
        if str(spec.provenance.get("weights", "")).startswith("random"):
            size += " Its weights are random: it is not trained."
        return f"An image classifier with {len(spec.labels):,} classes ({names}){kind}.{size}"
    inputs, outputs = (
        " and ".join(first_names([t.name for t in tensors], _NAMED_LABELS).rsplit(", ", 1))
        for tensors in (inspection.inputs, inspection.outputs)
    )
    return f"A neural network that computes {outputs} from {inputs}.{size}"


def _lines(inspection: Inspection, sha256: str, machine: str) -> Iterator[tuple[str, str]]:
    spec, path = inspection.spec, Path(inspection.path)
    yield "file", f"{inspection.path} ({size_text(inspection.size_bytes)})"
    if spec is not None and spec.data is not None:
        yield "weights' file", f"{spec.data.file} ({size_text(spec.data.size_bytes)}), in the same folder"
    for title, tensors in (("input", inspection.inputs), ("output", inspection.outputs)):
        yield title, "; ".join(_tensor(tensor) for tensor in tensors)
    if spec is not None and spec.preprocessing is not None:
        yield "preprocessing", preprocessing_text(spec.preprocessing, spec.inputs)
    elif spec is not None:
        yield "preprocessing", "none is recorded: the app prepares the arrays"
    yield from _origin(spec)
    yield "format", inspection.format_text
    if inspection.oldest_onnxruntime is not None:
        yield "runs in", f"onnxruntime {inspection.oldest_onnxruntime} or newer"
    written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    yield "written", f"{written:%Y-%m-%d %H:%M} UTC"
    yield "machine", machine or detect_machine().summary
    yield "SHA-256", sha256
    if spec is not None:
        yield "embedded digest", f"{spec.digest} (what cnntk verify checks)" if spec.digest else ""


def _tensor(tensor: TensorSpec) -> str:
    text = f"{tensor.name}: {tensor.dtype} {dims(tensor.shape)}"
    if tensor.name != IMAGE_INPUT:
        return text
    size = "this" if isinstance(tensor.shape[1], int) else "any"
    return f"{text}, pixel values 0 to 255 of images of {size} size"


def _origin(spec: ModelSpec | None) -> Iterator[tuple[str, str]]:
    """Network, weights, accuracy and versions, as far as the file records them."""
    if spec is None:
        yield "source", "an ONNX file that cnntk did not write: it records no labels and no preprocessing"
        return
    facts = spec.provenance
    package = next((prefix for name, prefix in _PACKAGES.items() if name in facts), "")
    network = f"{package}{spec.name}"
    if spec.network is not None:
        factory = spec.network.factory
        network = factory if ":" in factory else f"{factory}, a network of cnntk's zoo"
    if "onnx" in facts:
        made_by = f", made by {facts['producer']}" if facts.get("producer") else ""
        network = f"the ONNX file {facts['onnx']}{made_by}"
    yield "source", network
    yield "weights", _weights(facts)
    if isinstance(accuracy := facts.get("accuracy"), float):
        images = facts.get("test_images")
        of = f" of {images:,} test images" if isinstance(images, int) else ""
        yield "accuracy", f"{percent(accuracy) if accuracy < 0.9 else f'{100 * accuracy:.2f} %'}{of} right"
    names = ("torch", "torchvision", "timm", "transformers", "cnntk")
    yield "made with", ", ".join(f"{name} {facts[name]}" for name in names if name in facts)


def _weights(facts: Mapping[str, object]) -> str:
    weights = str(facts.get("weights", ""))
    if weights.startswith("random"):
        return f"{weights}: the model is not trained, and its answers mean nothing"
    if not weights and "data" in facts:
        images = facts.get("train_images")
        return f"trained on {facts['data']}" + (f", {images:,} images" if isinstance(images, int) else "")
    return weights


def _example(path: Path, spec: ModelSpec, images: str) -> Example | None:
    """A picture of the result's images, else a digit for those who read digits, else a test pattern."""
    if spec.head != "classifier" or spec.preprocessing is None or len(spec.inputs) != 1:
        return None
    image, caption = _picture(spec, spec.preprocessing, images)
    try:
        predictions = Classifier(path, threads=1).classify_pixels([image.pixels])[0]
    except CnntkError as error:
        return Example(*_png(image.pixels), f"{caption} The model could not be run on it: {error}", ())
    answers = tuple((p.label, p.probability) for p in predictions.top(_TOP))
    return Example(*_png(image.pixels), caption, answers)


def _picture(spec: ModelSpec, p: Preprocessing, images: str) -> tuple[CalibrationImage, str]:
    """An image and what it is; data that has moved since, or is not installed, is passed over."""
    if images and Path(images).is_file():
        with suppress(CnntkError):
            image = CalibrationImage(read_image(images, background=p.background), images)
            return image, f"The image {os.path.basename(images)}."
    elif images:
        with suppress(CnntkError):
            image = next(iter(calibration_images(images, 1, p.background)))
            known = image.label is not None and image.label < len(spec.labels)
            label = f", whose label is {spec.labels[image.label or 0]}" if known else ""
            data, name = os.path.basename(images), os.path.basename(image.name)
            return image, f"An image of {data}, the data of this run: {name}{label}."
    if spec.provenance.get("data") in _DIGITS:
        with suppress(CnntkError):
            image = next(iter(calibration_images("digits", 1, p.background)))
            return image, f"A handwritten {image.label} of scikit-learn's data set digits."
    height, width = p.fitted_size
    count = height * width * p.channels
    pixels = canonical_bytes(count, "noise", 1).reshape(height, width, p.channels)
    return (
        CalibrationImage(pixels, "noise"),
        "Not a photograph: the noise of the file's self-test, made by a formula, so that any device can "
        "check this very answer. What the model calls it says nothing about its accuracy.",
    )


def _png(pixels: Pixels) -> tuple[str, int, int]:
    """Base64 of a PNG file with the pixels, uint8 (H, W, 1 or 3), its width and its height."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    image.thumbnail((_MAX_PICTURE, _MAX_PICTURE))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode(), image.width, image.height
