"""`add_preprocessing`: gives a model of float arrays the input of an image.

**Channels.** Each channel is resized on its own, so colors and layout follow the resize, where the image is
small. A gray image stands for red, green and blue alike (Expand), at no measurable cost. The other direction,
luma for a network of gray images, would cost every image 2.5 µs as an If and more without one, 7 % of LeNet:
there the graph takes (N, H, W, 1), and whoever decodes an image converts it to gray.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from cnntk.exporters.passes.graph import dimensions, fresh_name, opset
from cnntk.exporters.passes.infra import PassRecord
from cnntk.exporters.passes.run import run_passes
from cnntk.exporters.preprocessing._inversion import invert_light_background
from cnntk.exporters.preprocessing._node_builder import (
    FLOAT,
    INT64,
    UINT8,
    Dims,
    ImageValue,
    NodeBuilder,
    as_float,
)
from cnntk.exporters.preprocessing._normalize import (
    FoldNormalization,
    Normalization,
    normalization_of,
    normalize,
)
from cnntk.exporters.preprocessing._products import with_stated_size
from cnntk.exporters.preprocessing._resize import crop, pad, resize
from cnntk.runtime.artifact.spec import IMAGE_INPUT, PREPROCESS_SCOPE, Preprocessing, TensorSpec
from cnntk.runtime.errors import UsageError

_OPSET = 18  # the first whose Resize has antialias and axes
_FLOATS = (FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE)


@dataclass(frozen=True)
class PreprocessingRecord:
    """What `add_preprocessing` added before a network.

    Attributes:
        input: The graph's new input.
        preprocessing: What the nodes do.
        operators: Operators of the nodes before the network, in order.
        branch_nodes: Number of nodes in the branches of an If among them, of which each image takes one.
        pixel_values: Name of the value that is normalized, float32 in the network's layout.
        shift: One number per channel: the normalization is ``(value - shift) * factor``.
        factor: One number per channel.
        folded: One line for each part of the normalization that the network's first layer took over.
        not_folded: One line for each part that it did not take over, with the reason.
        max_rel_diff: Largest difference of the outputs through folding, relative to the largest output; None
            where nothing was folded.
    """

    input: TensorSpec
    preprocessing: Preprocessing
    operators: tuple[str, ...]
    branch_nodes: int
    pixel_values: str
    shift: tuple[float, ...]
    factor: tuple[float, ...]
    folded: tuple[str, ...]
    not_folded: tuple[str, ...]
    max_rel_diff: float | None

    @property
    def nodes(self) -> int:
        """Number of nodes added before the network, without those in branches."""
        return len(self.operators)


def image_spec(p: Preprocessing, batch: int | str = "N", *, static_size: bool = False) -> TensorSpec:
    """Returns the input of a graph with this preprocessing: gray networks take gray images, others any."""
    if static_size:
        return TensorSpec(IMAGE_INPUT, "uint8", (batch, *p.fitted_size, p.channels))
    return TensorSpec(IMAGE_INPUT, "uint8", (batch, "H", "W", 1 if p.channels == 1 else "C"))


def add_preprocessing(
    model: ir.Model,
    p: Preprocessing,
    *,
    others: Mapping[str, NDArray[Any]] | None = None,
    images: int = 2,
    static_size: bool = False,
    fold: bool = True,
) -> PreprocessingRecord:
    """Replaces a model's first input by ``image``, uint8 (N, H, W, C), RGB or gray.

    Args:
        model: Model that is changed in place. Its first input is float32 (N, C, height, width), or
            (N, height, width, C) where ``p.layout`` is NHWC, or a narrower float; or uint8, for pixel values
            that ``p`` does not normalize. Its batch may be fixed.
        p: Preprocessing from the image to that input.
        others: Arrays for the model's other inputs, ``images`` rows each, on which folding is checked.
        images: Number of images on which folding is checked.
        static_size: Whether the graph takes images of ``p.fitted_size`` only, and has no resize.
        fold: Whether the network's first layer takes over the normalization, where it can.

    Raises:
        UsageError: ONNX has no operator for a step, or the model's input does not fit.
    """
    network = _checked(model, p)
    batch, *_ = dimensions(network) or ("N",)
    spec = image_spec(p, batch if isinstance(batch, int) else "N", static_size=static_size)
    n = normalization_of(p)
    name = fresh_name(model.graph, f"{PREPROCESS_SCOPE}/pixel_values")
    pixels = ir.Value(name=name, type=ir.TensorType(FLOAT), shape=ir.Shape((spec.shape[0], *_shape(p)[1:])))
    steps = _normalize(model, network, pixels, n)
    folding = _fold(model, steps, pixels, n, others or {}, images) if fold else None
    _free_image_name(model)
    image = ir.Value(name=IMAGE_INPUT, type=ir.TensorType(UINT8), shape=ir.Shape(spec.shape))
    builder = NodeBuilder(model, PREPROCESS_SCOPE)
    value = _prepare(builder, ImageValue(image, spec.shape), p, n)
    pixels.replace_all_uses_with(value, replace_graph_outputs=True)
    model.graph.inputs[0] = image
    remaining = [node.op_type for node in steps if node.graph is not None]
    return PreprocessingRecord(
        input=spec,
        preprocessing=p,
        operators=(*(node.op_type for node in builder.nodes), *remaining),
        branch_nodes=sum(1 for node in builder.nodes for _ in _branch_nodes(node)),
        pixel_values=str(value.name),
        shift=tuple(n.shift.tolist()),
        factor=tuple(n.factor.tolist()),
        folded=folding.rewrites.applied if folding and folding.status == "applied" else (),
        not_folded=(*folding.rewrites.skipped, *filter(None, [folding.rollback_reason])) if folding else (),
        max_rel_diff=folding.max_rel_diff if folding else None,
    )


def _branch_nodes(node: ir.Node) -> Iterator[ir.Node]:
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield from ir.traversal.RecursiveGraphIterator(attribute.as_graph())


def _prepare(builder: NodeBuilder, image: ImageValue, p: Preprocessing, n: Normalization) -> ir.Value:
    """Adds all steps but the normalization, in the order of `Preprocessing`."""
    if isinstance(image.dims[1], str):
        image = resize(builder, image, p)
    if p.resize != "longest":
        image = crop(builder, image, p)
    image = _to_layout(builder, image, p)
    if p.invert == "light-background":
        image = invert_light_background(builder, image, p)
    if p.resize == "longest":
        image = pad(builder, image, p, n.black)
    return as_float(builder, image).value


def _to_layout(builder: NodeBuilder, image: ImageValue, p: Preprocessing) -> ImageValue:
    """Converts to (N, C, H, W) or (N, H, W, C), in the network's color order."""
    if image.channels != p.channels:
        dims: Dims = (*image.dims[:3], p.channels)
        inputs = [image.value, builder.constant("three", [1, 1, 1, p.channels], INT64)]
        value = builder.add("Expand", inputs, name="three_channels", dtype=image.dtype, shape=dims)
        image = ImageValue(value, dims, image.sizes)
    image = with_stated_size(builder, image, p)
    if p.layout == "NCHW":
        image = _to_planes(builder, image)
    if p.color == "bgr":
        inputs = [image.value, builder.constant("bgr", [2, 1, 0], INT64)]
        axis = 1 if p.layout == "NCHW" else 3
        image = image.with_value(builder.add("Gather", inputs, {"axis": axis}, name="bgr_channels"))
    return image


def _to_planes(builder: NodeBuilder, image: ImageValue) -> ImageValue:
    n, height, width, channels = image.dims
    dims: Dims = (n, channels, height, width)
    if channels == 1 and image.sizes is None:  # the same elements in the same order, cheaper than Transpose
        shape = builder.constant("planes_shape", [-1, *(int(d) for d in dims[1:])], INT64)
        value = builder.add("Reshape", [image.value, shape], name="planes", shape=dims)
    else:
        value = builder.add("Transpose", [image.value], {"perm": [0, 3, 1, 2]}, name="planes", shape=dims)
    return ImageValue(value, dims, image.sizes, (2, 3))


def _checked(model: ir.Model, p: Preprocessing) -> ir.Value:
    """Returns the model's first input.

    Raises:
        UsageError: Preprocessing can't be added before it.
    """
    if p.interpolation == "lanczos" and p.resize_form == "operator":
        raise UsageError("interpolation lanczos: ONNX has no such filter; use --preprocess host")
    if opset(model) < _OPSET:
        raise UsageError(
            f"preprocessing in the graph needs opset {_OPSET}, the model has {opset(model)}; "
            "use --preprocess host"
        )
    if not model.graph.inputs:
        raise UsageError("the model has no input to prepare images for")
    network = model.graph.inputs[0]
    shape, expected = dimensions(network), _shape(p)
    fits = shape is not None and len(shape) == 4 and network.dtype in (*_FLOATS, UINT8)
    pairs = zip((shape or ())[1:], expected[1:], strict=True)
    if not fits or any(isinstance(d, int) and d != e for d, e in pairs):
        raise UsageError(
            f"input {network.name}: preprocessing yields values of shape {_text(expected)}, the input is "
            f"{network.dtype.name.lower() if network.dtype else 'of unknown type'} {_text(shape or ())}; "
            f"use --preprocess none{_layout_hint(p, shape)}"
        )
    if network.dtype == UINT8 and not p.keeps_pixels:
        raise UsageError(
            f"input {network.name} is uint8, so expected preprocessing that keeps whole pixel values: "
            "scale=1, mean 0, std 1 and levels=uint8"
        )
    return network


def _layout_hint(p: Preprocessing, shape: Sequence[object] | None) -> str:
    """The field to change where the input fits in the other layout."""
    other = replace(p, layout="NHWC" if p.layout == "NCHW" else "NCHW")
    fits = (
        shape is not None
        and len(shape) == 4
        and all(not isinstance(d, int) or d == e for d, e in zip(shape[1:], _shape(other)[1:], strict=True))
    )
    return f", or --preprocessing layout={other.layout}" if fits else ""


def _normalize(model: ir.Model, network: ir.Value, pixels: ir.Value, n: Normalization) -> list[ir.Node]:
    """Adds the normalization before the network.

    Returns:
        Its nodes, without a cast to a narrower type.
    """
    model.graph.inputs[0] = pixels
    builder = NodeBuilder(model, PREPROCESS_SCOPE)
    value = normalize(builder, pixels, n)
    steps = list(builder.nodes)
    if network.dtype is not None and network.dtype != FLOAT:
        value = builder.add("Cast", [value], {"to": int(network.dtype)}, name="narrow", dtype=network.dtype)
    network.replace_all_uses_with(value, replace_graph_outputs=True)
    return steps


def _fold(
    model: ir.Model,
    steps: list[ir.Node],
    pixels: ir.Value,
    n: Normalization,
    others: Mapping[str, NDArray[Any]],
    images: int,
) -> PassRecord:
    """Folds the normalization into the first layer, checked on a copy before."""
    rewrite = FoldNormalization(steps, n)
    shape = (images, *(d for d in (dimensions(pixels) or ())[1:] if isinstance(d, int)))
    noise = np.random.default_rng(0).integers(0, 256, shape) + min(n.black, 0.0)
    _, (record,) = run_passes(model, [{str(pixels.name): noise.astype(np.float32), **others}], (rewrite,))
    if record.status == "applied":
        rewrite(model)
    return record


def _free_image_name(model: ir.Model) -> None:
    """Renames any other value that has the name of the new input."""
    values = [v for node in model.graph for v in node.outputs]
    for value in [*model.graph.inputs, *model.graph.initializers.values(), *values]:
        if value.name == IMAGE_INPUT:
            value.name = fresh_name(model.graph, f"{IMAGE_INPUT}_inside")


def _shape(p: Preprocessing) -> Dims:
    """Returns the shape of the network's input."""
    first = p.layout == "NCHW"
    return ("N", p.channels, p.height, p.width) if first else ("N", p.height, p.width, p.channels)


def _text(shape: Sequence[object]) -> str:
    return f"[{', '.join(map(str, shape))}]"
