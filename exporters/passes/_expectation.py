"""Checks that a random value's replacement equals its mean: E(h') = h, measured on the original graph.

For each replaced value the part of the graph from h to h' runs many times with h fixed, so that only this
mask is random. Along a few fixed directions w the numbers d_t = <w, h'_t - h> of runs t are independent with
mean <w, E(h') - h>, which must be 0 within the statistical error s / sqrt(T). One direction is h itself,
which shows a wrong scale best; the others have random signs, which show a scale that is wrong in a few
elements.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from cnntk.exporters.passes.graph import (
    add_weight,
    is_random,
    remove_unused,
    remove_unused_nodes,
    replace_node,
    uniform,
)
from cnntk.exporters.session import Arrays, GraphSession

_SAMPLES = 200_000
"""Masked elements drawn for each replaced value, within `_RUNS`: enough to detect a 1 % scale error."""

_RUNS = (100, 2000)
"""Fewest runs, so that the standard error itself is known to 7 %, and most runs, to limit the time."""

_DIRECTIONS = 8

_SIGMAS = 7.0
"""Limit that correct masks pass: 9 directions exceed 7 standard errors in one of 10 ** 9 exports."""


@dataclass(frozen=True)
class Bias:
    """Deviation of a random value's mean from its replacement.

    Attributes:
        value: Name of the random value.
        replacement: Name of the value that replaces it.
        ratio: Mean of the random value along its replacement; 1 where they agree.
        error: Standard error of ``ratio``.
        sigmas: Largest deviation over all directions, in standard errors; infinite for NaN.
        runs: Number of runs of the graph.
    """

    value: str
    replacement: str
    ratio: float
    error: float
    sigmas: float
    runs: int

    @property
    def holds(self) -> bool:
        """Whether the mean equals the replacement within the statistical error."""
        return self.sigmas <= _SIGMAS

    def __str__(self) -> str:
        return (
            f"the mean of {self.value} is {self.ratio:.4f} ± {self.error:.4f} times {self.replacement} over "
            f"{self.runs} runs; expected 1 within {_SIGMAS:.0f} standard errors"
        )


def check_expectation(
    model: ir.Model, inputs: Mapping[str, np.ndarray], substitutions: Mapping[str, str]
) -> tuple[Bias, ...]:
    """Measures the bias of each replaced value on the graph before the replacement.

    Args:
        model: Model that contains the random values; it is not changed.
        inputs: One set of arrays by input name.
        substitutions: Name of each random value to the name of its replacement.
    """
    expected = GraphSession(model, list(dict.fromkeys(substitutions.values()))).run(inputs)
    arrays = {**inputs, **expected}
    return tuple(_bias(model, *names, arrays) for names in substitutions.items())


def _bias(model: ir.Model, name: str, replacement: str, arrays: Arrays) -> Bias:
    expected = np.asarray(arrays[replacement], dtype=np.float64)
    draws = _Draws(_between(model, replacement, name), arrays)
    runs = int(np.clip(_SAMPLES // max(expected.size, 1), *_RUNS))
    directions = _directions(expected)
    projections = np.stack([directions @ _difference(draws()[name], expected) for _ in range(runs)])
    error = projections.std(axis=0, ddof=1) / np.sqrt(runs)
    mean = projections.mean(axis=0)
    return Bias(name, replacement, 1 + float(mean[0]), float(error[0]), _largest_deviation(mean, error), runs)


class _Draws:
    """Runs a random graph with random numbers from numpy, seeded so that an export can be repeated.

    (onnxruntime seeds its Dropout anew in each run, with neighboring seeds: small masks are correlated.)
    """

    def __init__(self, model: ir.Model, arrays: Arrays) -> None:
        self._arrays = arrays
        self._rng = np.random.default_rng(0)
        nodes = [n for n in model.graph if n.op_type in _DISTRIBUTIONS and not n.domain]
        names = [str(n.outputs[0].name) for n in nodes]
        like = GraphSession(model, names).run(arrays) if names else {}
        self._drawn = {name: (node, like[name]) for name, node in zip(names, nodes, strict=True)}
        for node in nodes:
            _make_input(model, node.outputs[0], like[str(node.outputs[0].name)].shape)
        self._session = GraphSession(model)

    def __call__(self) -> Arrays:
        drawn = {name: self._draw(node, like) for name, (node, like) in self._drawn.items()}
        return self._session.run({**self._arrays, **drawn})

    def _draw(self, node: ir.Node, like: np.ndarray) -> np.ndarray:
        one, two = (node.attributes.get_float(*each) for each in _DISTRIBUTIONS[node.op_type])
        uniform = "Uniform" in node.op_type
        drawn = self._rng.uniform(one, two, like.shape) if uniform else self._rng.normal(one, two, like.shape)
        return np.asarray(drawn, dtype=like.dtype)


_UNIFORM = (("low", 0.0), ("high", 1.0))
_NORMAL = (("mean", 0.0), ("scale", 1.0))
_DISTRIBUTIONS = {
    "RandomUniform": _UNIFORM,
    "RandomUniformLike": _UNIFORM,
    "RandomNormal": _NORMAL,
    "RandomNormalLike": _NORMAL,
}


def _difference(drawn: np.ndarray, expected: np.ndarray) -> np.ndarray:
    if drawn.shape != expected.shape:
        return np.full(expected.size, np.nan)
    difference: np.ndarray = (drawn.astype(np.float64) - expected).reshape(-1)
    return difference


def _directions(expected: np.ndarray) -> np.ndarray:
    """Returns the replacement itself, scaled so that the first figure is a ratio, and seeded random signs."""
    flat = expected.reshape(-1)
    size = max(float(np.linalg.norm(flat)), np.finfo(np.float64).tiny)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(_DIRECTIONS, flat.size))
    return np.concatenate([flat[None] / size / size, signs / size / np.sqrt(max(flat.size, 1))])


def _largest_deviation(mean: np.ndarray, error: np.ndarray) -> float:
    """Returns the largest deviation in standard errors; float32's rounding is the least error assumed."""
    floor = np.finfo(np.float32).eps
    sigmas = np.abs(mean) / np.maximum(error, floor)
    return float("inf") if np.isnan(sigmas).any() else float(sigmas.max())


def _between(model: ir.Model, start: str, end: str) -> ir.Model:
    """Returns the part of a graph that computes ``end`` from ``start``, which becomes an input."""
    copy = model.clone()
    values: dict[str | None, ir.Value] = {v.name: v for v in copy.graph.inputs}
    values |= {v.name: v for node in copy.graph for v in node.outputs}
    values |= dict(copy.graph.initializers.items())
    old, target = values[start], values[end]
    copy.graph.outputs[:] = [target]
    if not old.is_graph_input():
        _make_input(copy, old, old.shape)
    _expand_bernoulli(copy)
    _expand_dropout(copy)
    remove_unused_nodes(copy)
    return copy


def _expand_bernoulli(model: ir.Model) -> None:
    """Replaces Bernoulli(q) by U < q: ONNX's function body, and onnxruntime with it, has U > q."""
    for node in [n for n in model.graph if n.op_type == "Bernoulli" and not n.domain]:
        output, probability = node.outputs[0], node.inputs[0]
        dtype = node.attributes.get_int("dtype", 0) or (output.dtype or ir.DataType.FLOAT)
        drawn = replace_node(
            output, "RandomUniformLike", [probability], {"dtype": 1}, name=f"{output.name}.drawn"
        )
        limit = replace_node(output, "Cast", [probability], {"to": 1}, name=f"{output.name}.chance")
        below = replace_node(output, "Less", [drawn, limit], name=f"{output.name}.below")
        replace_node(output, "Cast", [below], {"to": int(dtype)})
        remove_unused(model, output)


def _expand_dropout(model: ir.Model) -> None:
    """Replaces training-mode Dropout by its definition: Where(U >= p, x / (1 - p), 0)."""
    for node in [n for n in model.graph if n.op_type == "Dropout" and is_random(n)]:
        output, x = node.outputs[0], node.inputs[0]
        rate = uniform(node.inputs[1]) if node.inputs[1] is not None else 0.5
        dtype = output.dtype or ir.DataType.FLOAT
        keep = 1 - (0.5 if rate is None else rate)
        scale = add_weight(model, f"{output.name}.scale", np.array(1 / keep if keep else 0.0), dtype)
        zero = add_weight(model, f"{output.name}.zero", np.array(0.0), dtype)
        limit = add_weight(model, f"{output.name}.limit", np.array(keep), ir.DataType.FLOAT)
        drawn = replace_node(output, "RandomUniformLike", [x], {"dtype": 1}, name=f"{output.name}.drawn")
        mask = replace_node(output, "Less", [drawn, limit], name=f"{output.name}.mask")
        scaled = replace_node(output, "Mul", [x, scale], name=f"{output.name}.scaled")
        replace_node(output, "Where", [mask, scaled, zero])
        remove_unused(model, output)


def _make_input(model: ir.Model, value: ir.Value, shape: Any) -> None:
    """Makes a value an input of the graph."""
    kind = value.type or ir.TensorType(ir.DataType.FLOAT)
    graph_input = ir.Value(name=value.name, type=kind, shape=None if shape is None else ir.Shape(shape))
    value.replace_all_uses_with(graph_input, replace_graph_outputs=True)
    value.name = None
    model.graph.inputs.append(graph_input)
    remove_unused(model, value)
