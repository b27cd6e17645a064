"""`add_preprocessing`: a model of arrays becomes one of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from cnntk.exporters.passes.graph import dimensions, fresh_name, opset
from cnntk.exporters.passes.infra import PassRecord
from cnntk.exporters.passes.run import run_passes
from cnntk.exporters.preprocessing.channels import to_layout
from cnntk.exporters.preprocessing.crop import crop
from cnntk.exporters.preprocessing.inversion import invert_light_background
from cnntk.exporters.preprocessing.node_builder import FLOAT, UINT8, Dims, ImageValue, NodeBuilder, as_float
from cnntk.exporters.preprocessing.normalize import (
    FoldNormalization,
    Normalization,
    normalization_of,
    normalize,
)
from cnntk.exporters.preprocessing.padding import pad
from cnntk.exporters.preprocessing.resize import resize
from cnntk.runtime.artifact.spec import IMAGE_INPUT, PREPROCESS_SCOPE, Preprocessing, TensorSpec
from cnntk.runtime.errors import UsageError

__all__ = ["PreprocessingRecord", "add_preprocessing", "image_spec"]

_OPSET = 18  # the first whose Resize has antialias and axes
_FLOATS = (FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE)


@dataclass(frozen=True)
class PreprocessingRecord:
    """What was put in front of a network.

    Attributes:
        input: that the graph has now.
        operators: of the nodes that stand in front of the network, in order.
        pixel_values: name of the value that goes into the normalization, float32 in the network's layout.
        shift: with `factor`, what the normalization makes of that value: ``(value - shift) * factor``; one a
            channel.
        factor: one a channel.
        folded: a line for each part of the normalization that the network's first layer took over.
        not_folded: a line for each part that it did not, with the reason.
        max_rel_diff: of the answers by that, relative to the largest; None where nothing was folded.
    """

    input: TensorSpec
    operators: tuple[str, ...]
    pixel_values: str
    shift: tuple[float, ...]
    factor: tuple[float, ...]
    folded: tuple[str, ...]
    not_folded: tuple[str, ...]
    max_rel_diff: float | None

    @property
    def nodes(self) -> int:
        """How many nodes were added."""
        return len(self.operators)


def image_spec(p: Preprocessing) -> TensorSpec:
    """The input of a graph with this preprocessing: gray networks take gray images, others any."""
    return TensorSpec(IMAGE_INPUT, "uint8", ("N", "H", "W", 1 if p.channels == 1 else "C"))


def add_preprocessing(
    model: ir.Model,
    p: Preprocessing,
    *,
    others: Mapping[str, NDArray[Any]] | None = None,
    images: int = 2,
) -> PreprocessingRecord:
    """Gives a model the input ``image``, uint8 (N, H, W, C) RGB or gray, for its first input.

    Args:
        model: changed in place. Its first input is float32 (N, C, height, width), or (N, height, width, C) as
            ``p.layout`` says, or a narrower float.
        p: from the image to that input.
        others: arrays for the model's other inputs, ``images`` rows each, on which folding is checked.
        images: how many images folding is checked on.

    Raises:
        UsageError: ONNX has no operator for it, or the model's input is another one.
    """
    network = _checked(model, p)
    n = normalization_of(p)
    levels = _levels(model, p)
    steps = _normalize(model, network, levels, n)
    folding = _fold(model, steps, levels, n, others or {}, images)
    _name_is_free(model)
    image = ir.Value(name=IMAGE_INPUT, type=ir.TensorType(UINT8), shape=ir.Shape(image_spec(p).shape))
    builder = NodeBuilder(model, PREPROCESS_SCOPE)
    value = _prepare(builder, ImageValue(image, image_spec(p).shape), p, n)
    levels.replace_all_uses_with(value, replace_graph_outputs=True)
    model.graph.inputs[0] = image
    kept = [node.op_type for node in steps if node.graph is not None]
    return PreprocessingRecord(
        input=image_spec(p),
        operators=(*(node.op_type for node in builder.nodes), *kept),
        pixel_values=str(value.name),
        shift=tuple(n.shift.tolist()),
        factor=tuple(n.factor.tolist()),
        folded=folding.rewrites.applied if folding is not None and folding.status == "applied" else (),
        not_folded=_reasons(folding),
        max_rel_diff=folding.max_rel_diff if folding is not None else None,
    )


def _prepare(builder: NodeBuilder, image: ImageValue, p: Preprocessing, n: Normalization) -> ir.Value:
    """All but the normalization, in the order of `Preprocessing`."""
    image = resize(builder, image, p)
    if p.resize == "shortest":
        image = crop(builder, image, p)
    image = to_layout(builder, image, p)
    if p.invert == "light-background":
        image = invert_light_background(builder, image, p)
    if p.resize == "longest":
        image = pad(builder, image, p, n.black)
    return as_float(builder, image).value


def _checked(model: ir.Model, p: Preprocessing) -> ir.Value:
    """The model's first input.

    Raises:
        UsageError: nothing can be put in front of it.
    """
    if p.interpolation == "lanczos":
        raise UsageError("ONNX has no lanczos filter, so it can't be in the graph; use --preprocess host")
    if opset(model) < _OPSET:
        raise UsageError(
            f"preprocessing needs opset {_OPSET}, the model has {opset(model)}; use --preprocess host"
        )
    if not model.graph.inputs:
        raise UsageError("the model has no input, so no image can become it")
    network = model.graph.inputs[0]
    shape, expected = dimensions(network), _shape(p)
    fits = shape is not None and len(shape) == 4 and network.dtype in _FLOATS
    if not fits or any(isinstance(d, int) and d != e for d, e in zip(shape or (), expected, strict=True)):
        raise UsageError(
            f"input {network.name}: its preprocessing makes floats of shape {_text(expected)}, and it is "
            f"{network.dtype.name.lower() if network.dtype else 'of unknown type'} {_text(shape or ())}; "
            "use --preprocess none"
        )
    return network


def _levels(model: ir.Model, p: Preprocessing) -> ir.Value:
    """Stands for what the image becomes, until it is there."""
    name = fresh_name(model.graph, f"{PREPROCESS_SCOPE}/levels")
    return ir.Value(name=name, type=ir.TensorType(FLOAT), shape=ir.Shape(_shape(p)))


def _normalize(model: ir.Model, network: ir.Value, levels: ir.Value, n: Normalization) -> list[ir.Node]:
    """Puts the normalization in front of the network; its nodes, without a cast to a narrower type."""
    model.graph.inputs[0] = levels
    builder = NodeBuilder(model, PREPROCESS_SCOPE)
    value = normalize(builder, levels, n)
    steps = list(builder.nodes)
    if network.dtype is not None and network.dtype != FLOAT:
        attributes = {"to": int(network.dtype)}
        value = builder.add(
            "Cast", [value], attributes, name="narrow", dtype=network.dtype, shape=_dims(levels)
        )
    network.replace_all_uses_with(value, replace_graph_outputs=True)
    return steps


def _fold(
    model: ir.Model,
    steps: list[ir.Node],
    levels: ir.Value,
    n: Normalization,
    others: Mapping[str, NDArray[Any]],
    images: int,
) -> PassRecord | None:
    """Lets the first layer take over what it can, tried on a copy before; None where there is nothing."""
    if not steps:
        return None
    rewrite = FoldNormalization(steps, n)
    shape = (images, *(int(d) for d in _dims(levels)[1:]))
    noise = np.random.default_rng(0).integers(0, 256, shape) + min(n.black, 0.0)
    _, (record,) = run_passes(model, [{str(levels.name): noise.astype(np.float32), **others}], (rewrite,))
    if record.status == "applied":
        rewrite(model)
    return record


def _reasons(folding: PassRecord | None) -> tuple[str, ...]:
    if folding is None:
        return ()
    return (*folding.rewrites.skipped, *((folding.rollback_reason,) if folding.rollback_reason else ()))


def _name_is_free(model: ir.Model) -> None:
    """Another value that bears the input's name gets another."""
    values = [v for node in model.graph for v in node.outputs]
    for value in [*model.graph.inputs, *model.graph.initializers.values(), *values]:
        if value.name == IMAGE_INPUT:
            value.name = fresh_name(model.graph, f"{IMAGE_INPUT}_inside")


def _shape(p: Preprocessing) -> Dims:
    """Of the network's input."""
    first = p.layout == "NCHW"
    return ("N", p.channels, p.height, p.width) if first else ("N", p.height, p.width, p.channels)


def _dims(value: ir.Value) -> Dims:
    return tuple(d if isinstance(d, int) else str(d) for d in dimensions(value) or ())


def _text(shape: Sequence[object]) -> str:
    return f"[{', '.join(map(str, shape))}]"
