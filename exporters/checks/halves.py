"""A graph in float16 is judged a second time: itself in float32, with its weights as they are.

In float16 a wrong weight hides behind the rounding that every program must be allowed: one that is off by a
tenth passes. In float32 nothing is rounded but what the passes folded and rounded to float16 again, so the
answers may be no further from float64 than a small factor of torch's own float16 error on the same image,
without the floor of whole float16 roundings. What onnxruntime makes of float16 on this machine plays no part.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from cnntk.exporters.checks.parity import FACTOR, FLOOR, Answers
from cnntk.exporters.checks.record import Check
from cnntk.exporters.session import GraphSession
from cnntk.exporters.sources.precision import EPSILON
from cnntk.runtime.errors import InferenceError, ParityError

__all__ = ["check_in_float32", "in_float32"]

_HALF, _SINGLE = ir.DataType.FLOAT16, ir.DataType.FLOAT


def check_in_float32(model: ir.Model, answers: Answers) -> Check:
    """Compares the graph in float32 with float64, on the ordinary images.

    Args:
        model: in float16.
        answers: of the reference.

    Raises:
        ParityError: an answer is further off than `FACTOR` times torch's own float16 error.
    """
    images = answers.trials.ordinary
    wide = in_float32(model)
    names = {v.name for v in wide.graph.inputs if v.dtype is _SINGLE}
    given = {k: v.astype(np.float32) if k in names else v for k, v in answers.trials.pick(images).items()}
    try:
        found = GraphSession(wide).run(given)
    except InferenceError as error:
        return Check("in float32", f"not compared: {error}")
    figures = [
        _compare(name, array, answers, images) for name, array in found.items() if name in answers.exact
    ]
    off, allowed = max(figures, key=lambda pair: pair[0] / pair[1])
    return Check(
        "in float32", f"{off:.2g} from float64 with no value on the way rounded, {allowed:.2g} allowed"
    )


def _compare(name: str, found: NDArray[Any], answers: Answers, images: list[int]) -> tuple[float, float]:
    """The error of the image on which it is worst, and what is allowed there."""
    exact, single = (
        a[name][images].astype(np.float64).reshape(len(images), -1) for a in (answers.exact, answers.single)
    )
    scales, own = np.abs(exact).max(axis=1), np.abs(single - exact).max(axis=1)
    judged = np.isfinite(own) & (scales > 0)
    if not judged.any():
        return 0.0, 1.0
    usual = float(np.median(own[judged] / scales[judged]))
    allowed = FACTOR * np.maximum(own, np.maximum(usual, FLOOR * EPSILON["float32"]) * scales)[judged]
    errors = np.abs(found.astype(np.float64).reshape(exact.shape) - exact).max(axis=1)[judged]
    worst = int(np.argmax(np.nan_to_num(errors / allowed, nan=np.inf)))
    if not errors[worst] <= allowed[worst]:
        kind = np.array(answers.trials.kinds)[images][judged][worst]
        raise ParityError(
            f"{name}: on {kind} the same graph in float32 differs from float64 by {errors[worst]:.3g}, "
            f"where torch itself in float16 differs by {own[judged][worst]:.3g} and {allowed[worst]:.3g} is "
            "allowed. Nothing was written"
        )
    return float(errors[worst]), float(allowed[worst])


def in_float32(model: ir.Model) -> ir.Model:
    """A copy of ``model`` in which every float16 is a float32."""
    wide = model.clone()
    for weight in wide.graph.initializers.values():
        if weight.const_value is not None and weight.const_value.dtype is _HALF:
            weight.const_value = ir.tensor(weight.const_value.numpy().astype(np.float32), name=weight.name)
    for value in (*wide.graph.inputs, *wide.graph.initializers.values()):
        _widen(value)
    bodies: list[ir.Graph | ir.Function] = [wide.graph, *wide.functions.values()]
    for node in (n for body in bodies for n in ir.traversal.RecursiveGraphIterator(body)):
        for name, attribute in tuple(node.attributes.items()):
            if (
                attribute.type is ir.AttributeType.INT
                and name in ("to", "dtype")
                and attribute.value == _HALF
            ):
                node.attributes[name] = ir.AttrInt64(name, int(_SINGLE))
            elif attribute.type is ir.AttributeType.TENSOR and attribute.as_tensor().dtype is _HALF:
                tensor = ir.tensor(attribute.as_tensor().numpy().astype(np.float32))
                node.attributes[name] = ir.AttrTensor(name, tensor)
        for value in node.outputs:
            _widen(value)
    return wide


def _widen(value: ir.Value) -> None:
    if value.dtype is _HALF:
        value.type = ir.TensorType(_SINGLE)
