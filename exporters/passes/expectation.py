"""Whether what stands for a random value is its mean: E(h') = h, tried on the graph as it was.

For each replaced value the part of the graph between h and h' runs many times with h given, so that only
this mask is random. Along a few fixed directions w the numbers d_t = <w, h'_t - h> of runs t are
independent with mean <w, E(h') - h>, which must be 0 within the statistical error s / sqrt(T). One
direction is h itself, so that a wrong scale shows best; the others have random signs, so that a scale that
is wrong in a few places shows, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from cnntk.exporters.passes.graph import add_weight, is_random, put, sweep, uniform
from cnntk.exporters.session import Arrays, GraphSession

__all__ = ["Bias", "check_expectation", "worst"]

_SAMPLES = 200_000
"""Masked numbers drawn for each replaced value, within `_RUNS`: a scale wrong by 1 % shows."""

_RUNS = (100, 2000)
"""Fewest, so that the error of the mean is itself known to 7 %; and most, for the time."""

_DIRECTIONS = 8

_SIGMAS = 7.0
"""A sound mask passes: 9 directions beyond 7 standard errors of 100 runs happen once in 10 ** 9 exports."""


@dataclass(frozen=True)
class Bias:
    """How far a random value's mean is from what stands for it.

    Attributes:
        value: the random one.
        stand_in: what stands for it.
        ratio: mean of the random value along its stand-in; 1 where it stands for it.
        error: standard error of ``ratio``.
        sigmas: largest deviation over all directions, in standard errors; infinite for NaN.
        runs: how many were made.
    """

    value: str
    stand_in: str
    ratio: float
    error: float
    sigmas: float
    runs: int

    @property
    def holds(self) -> bool:
        """Whether the mean is the stand-in, within the statistical error."""
        return self.sigmas <= _SIGMAS

    def __str__(self) -> str:
        return (
            f"the mean of {self.value} is {self.ratio:.4f} ± {self.error:.4f} times {self.stand_in} over "
            f"{self.runs} runs; expected 1 within {_SIGMAS:.0f} standard errors"
        )


def check_expectation(
    model: ir.Model, inputs: Mapping[str, np.ndarray], replaced: Mapping[str, str]
) -> tuple[Bias, ...]:
    """The bias of each replaced value, on the graph as it was before.

    Args:
        model: with the random values in it; left as it is.
        inputs: one set, by name.
        replaced: names of random values to those that stand for them.
    """
    if not replaced:
        return ()
    given = GraphSession(model, list(dict.fromkeys(replaced.values()))).run(inputs)
    return tuple(_bias(model, name, stand_in, {**inputs, **given}) for name, stand_in in replaced.items())


def _bias(model: ir.Model, name: str, stand_in: str, arrays: Arrays) -> Bias:
    given = np.asarray(arrays[stand_in], dtype=np.float64)
    draws = _Draws(_between(model, stand_in, name), arrays)
    runs = int(np.clip(_SAMPLES // max(given.size, 1), *_RUNS))
    directions = _directions(given)
    moved = np.stack([directions @ _apart(draws()[name], given) for _ in range(runs)])
    error = moved.std(axis=0, ddof=1) / np.sqrt(runs)
    mean = moved.mean(axis=0)
    return Bias(name, stand_in, 1 + float(mean[0]), float(error[0]), _largest(mean, error), runs)


class _Draws:
    """Runs a random graph on numbers that numpy draws: seeded, so that an export can be repeated.

    (onnxruntime seeds its Dropout anew in each run, with neighboring seeds: small masks hang together.)
    """

    def __init__(self, model: ir.Model, arrays: Arrays) -> None:
        self._arrays = arrays
        self._rng = np.random.default_rng(0)
        nodes = [n for n in model.graph if n.op_type in _DISTRIBUTIONS and not n.domain]
        names = [str(n.outputs[0].name) for n in nodes]
        like = GraphSession(model, names).run(arrays) if names else {}
        self._drawn = {name: (node, like[name]) for name, node in zip(names, nodes, strict=True)}
        for node in nodes:
            _give(model, node.outputs[0], like[str(node.outputs[0].name)].shape)
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


def _apart(drawn: np.ndarray, given: np.ndarray) -> np.ndarray:
    if drawn.shape != given.shape:
        return np.full(given.size, np.nan)
    apart: np.ndarray = (drawn.astype(np.float64) - given).reshape(-1)
    return apart


def _directions(given: np.ndarray) -> np.ndarray:
    """The stand-in itself, scaled so that the first figure is a ratio, and random signs, seeded."""
    flat = given.reshape(-1)
    size = max(float(np.linalg.norm(flat)), np.finfo(np.float64).tiny)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(_DIRECTIONS, flat.size))
    return np.concatenate([flat[None] / size / size, signs / size / np.sqrt(max(flat.size, 1))])


def _largest(mean: np.ndarray, error: np.ndarray) -> float:
    """In standard errors; rounding of float32 counts as one where nothing is random."""
    floor = np.finfo(np.float32).eps
    sigmas = np.abs(mean) / np.maximum(error, floor)
    return float("inf") if np.isnan(sigmas).any() else float(sigmas.max())


def _between(model: ir.Model, start: str, end: str) -> ir.Model:
    """The part of a graph that makes ``end`` from ``start``, which becomes an input."""
    copy = model.clone()
    values: dict[str | None, ir.Value] = {v.name: v for v in copy.graph.inputs}
    values |= {v.name: v for node in copy.graph for v in node.outputs}
    values |= dict(copy.graph.initializers.items())
    old, target = values[start], values[end]
    copy.graph.outputs[:] = [target]
    if not old.is_graph_input():
        _give(copy, old, old.shape)
    _mend_bernoulli(copy)
    _mend_dropout(copy)
    for node in reversed(list(copy.graph)):
        if node.graph is not None and not any(v.uses() or v.is_graph_output() for v in node.outputs):
            sweep(copy, node.outputs[0])
    return copy


def _mend_bernoulli(model: ir.Model) -> None:
    """Bernoulli(q) as U < q: ONNX's own definition by other operators has U > q, and so has onnxruntime."""
    for node in [n for n in model.graph if n.op_type == "Bernoulli" and not n.domain]:
        output, chance = node.outputs[0], node.inputs[0]
        dtype = node.attributes.get_int("dtype", 0) or (output.dtype or ir.DataType.FLOAT)
        drawn = put(output, "RandomUniformLike", [chance], {"dtype": 1}, name=f"{output.name}.drawn")
        limit = put(output, "Cast", [chance], {"to": 1}, name=f"{output.name}.chance")
        below = put(output, "Less", [drawn, limit], name=f"{output.name}.below")
        put(output, "Cast", [below], {"to": int(dtype)})
        sweep(model, output)


def _mend_dropout(model: ir.Model) -> None:
    """Dropout in training mode by its definition: Where(U >= p, x / (1 - p), 0)."""
    for node in [n for n in model.graph if n.op_type == "Dropout" and is_random(n)]:
        output, given = node.outputs[0], node.inputs[0]
        rate = uniform(node.inputs[1]) if node.inputs[1] is not None else 0.5
        dtype = output.dtype or ir.DataType.FLOAT
        keep = 1 - (0.5 if rate is None else rate)
        scale = add_weight(model, f"{output.name}.scale", np.array(1 / keep if keep else 0.0), dtype)
        zero = add_weight(model, f"{output.name}.zero", np.array(0.0), dtype)
        limit = add_weight(model, f"{output.name}.limit", np.array(keep), ir.DataType.FLOAT)
        drawn = put(output, "RandomUniformLike", [given], {"dtype": 1}, name=f"{output.name}.drawn")
        kept = put(output, "Less", [drawn, limit], name=f"{output.name}.kept")
        scaled = put(output, "Mul", [given, scale], name=f"{output.name}.scaled")
        put(output, "Where", [kept, scaled, zero])
        sweep(model, output)


def _give(model: ir.Model, value: ir.Value, shape: Any) -> None:
    """Makes a value an input of the graph."""
    kind = value.type or ir.TensorType(ir.DataType.FLOAT)
    given = ir.Value(name=value.name, type=kind, shape=None if shape is None else ir.Shape(shape))
    value.replace_all_uses_with(given, replace_graph_outputs=True)
    value.name = None
    model.graph.inputs.append(given)
    sweep(model, value)


def worst(biases: Sequence[Bias]) -> float | None:
    """The largest distance of a ratio from 1."""
    return max((abs(b.ratio - 1) for b in biases), default=None)
