"""Precision: outputs do not overflow, a cast costs rounding alone, and float16 hides no wrong weight."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from cnntk.exporters.checks._batch_axis import batch_first
from cnntk.exporters.checks._candidate import Candidate, Check
from cnntk.exporters.checks._capture import ModuleErrors, compare_module_output, module_outputs
from cnntk.exporters.checks._inputs import CheckInputs
from cnntk.exporters.checks.limits import EPSILON, FACTOR, FLOOR, PROBABILITIES
from cnntk.exporters.checks.reference import (
    Outputs,
    max_error_per_image,
    reference_outputs,
    scale_per_image,
    usual_error,
)
from cnntk.exporters.float32_graph import to_float32
from cnntk.exporters.session import GraphSession
from cnntk.exporters.shapes.dataflow import node_origin
from cnntk.exporters.source import Source
from cnntk.runtime.errors import InferenceError, ParityError

_CAST_FACTOR = 4.0
"""Limit of a cast's error in limits of parity: weights are rounded once, as every layer's output is once, and
by the same step."""

_CAST_IMAGES = 3
"""Largest number of images; the network runs three times on each."""


def check_cast(candidate: Candidate) -> Check | None:
    """Compares a network whose weights were rounded with the network before.

    The limit is derived: the error of rounding in the coarser type is measured against float64 on the same
    images, as for parity; rounding the weights may cost `_CAST_FACTOR` times as much as parity allows. A
    weight that the type can't tell from 0, or from its neighbors, costs more.

    Raises:
        ParityError: An output changes by more, or is not finite after the cast.
    """
    source, before = candidate.source, candidate.source.source_before_cast
    if before is None or before.module is None or candidate.module is None:
        return None
    numbers = candidate.inputs.ordinary[:_CAST_IMAGES]
    kinds = tuple(candidate.inputs.kinds[i] for i in numbers)
    inputs = CheckInputs(kinds, candidate.inputs.select(numbers), (1,))
    expected = reference_outputs(candidate.reference, inputs, candidate.eps, candidate.batch_axes)
    arrays = {spec.name: inputs.arrays[spec.name].astype(spec.dtype) for spec in before.inputs}
    outputs = zip(candidate.output_names, module_outputs(before.module, arrays), strict=False)
    compared = [
        (
            name,
            compare_module_output(name, candidate.images_first(name, t, len(kinds)), expected, before.module),
        )
        for name, t in outputs
    ]
    changes = [
        _relative_change(name, errors, kinds, source) for name, errors in compared if errors is not None
    ]
    return Check(
        "cast",
        f"{source.provenance['cast_from']} to {source.provenance['dtype']} changes outputs by at most "
        f"{max(changes, default=0.0):.2g} of the largest, on {', '.join(kinds)}",
    )


def check_finite_outputs(candidate: Candidate) -> None:
    """Each output of the reference has elements, all of them finite on ordinary images.

    Raises:
        ParityError: An output has no elements, or is NaN or infinite on an image of the usual range.
    """
    expected, ordinary = candidate.expected, candidate.inputs.ordinary
    for name, bounds in expected.bounds.items():
        if name == PROBABILITIES and candidate.softmax_of_logits:
            continue  # the network's own softmax may overflow where the repaired one does not
        if not expected.float64[name].size:
            raise ParityError(
                f"{name}: its shape {list(expected.float64[name].shape)} has no elements; return at least "
                "one value an image. Nothing was written"
            )
        failing = [i for i in ordinary if not np.isfinite(bounds[i])]
        if failing:
            exact = expected.float64[name][failing[0]]
            advice = "use a wider type (--dtype float32), or train again"
            if not np.isfinite(exact).all():
                advice = "divide by no norm or deviation that may be 0, and exponentiate no large logits"
            raise ParityError(
                f"{name}: on {candidate.inputs.kinds[failing[0]]}, an image of the usual range, the network "
                f"itself returns NaN or infinity{_first_nonfinite(candidate, failing[0])}; {advice}. "
                "Nothing was written"
            )


def _first_nonfinite(candidate: Candidate, image: int) -> str:
    """`` , first at ...``: the first node of the reference whose value is not finite."""
    seen: list[str] = []

    def visit(name: str, value: NDArray[Any]) -> None:
        if not np.isfinite(value).all():
            seen.append(name)

    candidate.reference.run_native(candidate.inputs.select([image]), visit)
    nodes = {v.name: node for node in candidate.model.graph for v in node.outputs}
    node = next((nodes[name] for name in seen if name in nodes), None)
    return f", first at {node_origin(node)}" if node is not None else ""


def check_float16(candidate: Candidate) -> Check | None:
    """Runs a float16 graph a second time in float32, with its weights as they are, on the ordinary images.

    In float16 a wrong weight hides behind the rounding that every program must be allowed: one that is off by
    a tenth passes. In float32 nothing is rounded but what the passes folded and rounded to float16 again, so
    the outputs may be no further from float64 than `FACTOR` times torch's own float16 error on the same
    image, without the floor of whole float16 steps. The float16 kernels of this machine play no part.

    Raises:
        ParityError: An output is further off.
    """
    if candidate.eps != EPSILON["float16"] or candidate.source.graph is not None:
        return None  # somebody's float16 graph has no reference in float64
    expected = candidate.expected
    images = expected.inputs.ordinary
    wide = to_float32(candidate.model)
    names = {v.name for v in wide.graph.inputs if v.dtype is ir.DataType.FLOAT}
    arrays = expected.inputs.select(images)
    try:
        outputs = GraphSession(wide).run(
            {k: v.astype(np.float32) if k in names else v for k, v in arrays.items()}
        )
        outputs = batch_first(outputs, candidate.batch_axes, len(images))
    except InferenceError as error:
        return Check("in float32", f"not compared: {error}")
    figures = [
        _compare(name, outputs[name], expected, images) for name in outputs if name in expected.float64
    ]
    worst, bound = max(figures, key=lambda pair: pair[0] / pair[1])
    return Check(
        "in float32", f"max abs error vs float64 {worst:.2g} without float16 rounding (limit {bound:.2g})"
    )


def _relative_change(name: str, result: ModuleErrors, kinds: tuple[str, ...], source: Source) -> float:
    """Largest change of one output, relative to its largest value."""
    changes, bounds = result.errors, _CAST_FACTOR * result.bounds
    wrong = ~(changes <= bounds)
    if wrong.any():
        worst = int(np.argmax(wrong))
        effect = "overflows"
        if np.isfinite(bounds[worst]):
            effect = f"changes by {changes[worst]:.3g} (limit by rounding {bounds[worst]:.3g})"
        before, after = source.provenance["cast_from"], source.provenance["dtype"]
        raise ParityError(
            f"{name}: on {kinds[worst]} it {effect} with the cast to {after}, whose range or precision is "
            f"too small for its weights or inner values; keep {before}. Nothing was written"
        )
    return float(changes.max(initial=0.0)) / result.scale if result.scale else 0.0


def _compare(name: str, actual: NDArray[Any], expected: Outputs, images: list[int]) -> tuple[float, float]:
    """Error and limit of the image on which the error is worst."""
    exact = expected.float64[name][images]
    scales, torch_errors = scale_per_image(exact), max_error_per_image(expected.native[name][images], exact)
    compared = np.isfinite(torch_errors) & (scales > 0)
    if not compared.any():
        return 0.0, 1.0
    usual = usual_error(torch_errors[compared], scales[compared])
    bounds = (
        FACTOR * np.maximum(torch_errors, np.maximum(usual, FLOOR * EPSILON["float32"]) * scales)[compared]
    )
    errors = max_error_per_image(actual.reshape(exact.shape), exact)[compared]
    worst = int(np.argmax(np.nan_to_num(errors / bounds, nan=np.inf)))
    if not errors[worst] <= bounds[worst]:
        kind = np.array(expected.inputs.kinds)[images][compared][worst]
        raise ParityError(
            f"{name}: on {kind} the same graph in float32 differs from float64 by {errors[worst]:.3g} (limit "
            f"{bounds[worst]:.3g}; torch itself in float16 differs by {torch_errors[compared][worst]:.3g}). "
            "Nothing was written"
        )
    return float(errors[worst]), float(bounds[worst])
