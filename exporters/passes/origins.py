"""Origins of weights: for each weight of a graph, the tensors of the source that it is made of, and how.

An origin is an expression: its leaves are tensors of the source, values of the captured program and numbers
of the preprocessing; its formulas are those of the passes. The passes only name the formula and what goes in;
``checks/_weight_formulas.py`` computes it in float64. An origin is stored in the metadata of the graph's
value, which survives copies of the graph and new names, and is not written to the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import onnx_ir as ir

__all__ = [
    "Formula",
    "Origin",
    "absorb",
    "absorbed_origins",
    "describe_origins",
    "label_program_constants",
    "label_source_tensors",
    "origin_of",
    "recorded_origin",
    "set_origin",
]

Formula = Literal[
    "source",
    "program",
    "shape",
    "number",
    "normalization",
    "preprocessing",
    "exact epsilon",
    "batch norm",
    "arithmetic",
    "after layer",
    "before layer",
    "linear chain",
    "convolution chain",
    "flattened chain",
]

_KEY = "cnntk.origin"
_ABSORBED = "cnntk.absorbed"


@dataclass(frozen=True, eq=False)
class Origin:
    """How a weight is computed.

    Attributes:
        formula: ``source``: the tensor ``name`` of the source. ``program``: the value ``name`` of the
            captured graph, a constant. ``shape``: a shape of the captured graph. ``number``: a number of the
            program that is an attribute there. ``normalization``, ``preprocessing``: numbers that follow from
            the spec's preprocessing. The others compute a weight from ``inputs``.
        name: Name of a leaf; empty for a formula.
        inputs: Origins of the formula's inputs; None for one that the layer does not have.
        attributes: Numbers of the formula, such as a batch norm's epsilon.
        index: Number of the formula's result, where it has two: 0 is a weight or scale, 1 a bias or shift.
        dtype: Type to which the result is rounded; None where it is not stored.
    """

    formula: Formula
    name: str = ""
    inputs: tuple[Origin | None, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    index: int = 0
    dtype: ir.DataType | None = None

    def result(self, index: int) -> Origin:
        """The origin of another result of the same formula."""
        return replace(self, index=index)

    @property
    def leaves(self) -> Iterator[Origin]:
        """The leaves of the expression, from left to right."""
        if self.name:
            yield self
        for each in self.inputs:
            if each is not None:
                yield from each.leaves

    @property
    def formulas(self) -> tuple[str, ...]:
        """Names of the formulas, each once, inputs before what they go into."""
        inner = (f for each in self.inputs if each is not None for f in each.formulas)
        return tuple(dict.fromkeys((*inner, *(() if self.name else (self.formula,)))))


def origin_of(value: ir.Value | None) -> Origin | None:
    """The origin of a constant value; a value of the program where none was recorded. None for None."""
    if value is None:
        return None
    origin: Origin | None = value.meta.get(_KEY)
    return origin if origin is not None else Origin("program", str(value.name))


def set_origin(value: ir.Value, origin: Origin) -> None:
    """Records the origin of a weight of type ``value.dtype``."""
    value.meta[_KEY] = origin if origin.name else replace(origin, dtype=value.dtype)


def label_source_tensors(model: ir.Model) -> None:
    """Records, for each weight of a captured graph, that it is the source's tensor of this name."""
    for name, value in model.graph.initializers.items():
        set_origin(value, Origin("source", name))


def label_program_constants(model: ir.Model) -> None:
    """Records, for each weight without an origin, that it is the captured program's value of this name."""
    for name, value in model.graph.initializers.items():
        if _KEY not in value.meta:
            set_origin(value, Origin("program", name))


def recorded_origin(value: ir.Value) -> Origin | None:
    """The recorded origin of a weight; None where there is none."""
    origin: Origin | None = value.meta.get(_KEY)
    return origin


def describe_origins(model: ir.Model) -> dict[str, list[str]]:
    """Names of weights by what they are made of, like ``conv1, bn1 (batch norm, after layer)``.

    ``conv1.*`` stands for ``conv1.weight`` and ``conv1.bias``. Those that are the source's tensors of the
    same name, or the preprocessing's constants, are left out.
    """
    names: dict[str, list[str]] = {}
    for name, value in model.graph.initializers.items():
        origin = recorded_origin(value)
        plain = origin is not None and origin.formula in ("source", "preprocessing")
        if origin is not None and not (plain and name.startswith(origin.name)):
            names.setdefault(_describe(origin), []).append(name)
    return {text: _shortened(group) for text, group in names.items()}


def _shortened(names: list[str]) -> list[str]:
    """``a.*`` for ``a.weight`` and ``a.bias``."""
    stems = [name.removesuffix(".weight") for name in names if name.endswith(".weight")]
    layers = [stem for stem in stems if f"{stem}.bias" in names]
    covered = {f"{stem}.{kind}" for stem in layers for kind in ("weight", "bias")}
    return [*(f"{stem}.*" for stem in layers), *(name for name in names if name not in covered)]


def _describe(origin: Origin) -> str:
    if origin.name:
        return origin.name if origin.formula == "source" else "constants of the program"
    modules = dict.fromkeys(
        leaf.name.rpartition(".")[0] or leaf.name if leaf.formula == "source" else leaf.formula
        for leaf in origin.leaves
    )
    return f"{', '.join(modules)} ({', '.join(origin.formulas)})"


def absorb(model: ir.Model, origin: Origin | None) -> None:
    """Records that a constant is not needed, because all its elements are 0, or all are 1."""
    if origin is not None:
        model.graph.meta[_ABSORBED] = (*absorbed_origins(model), origin)


def absorbed_origins(model: ir.Model) -> tuple[Origin, ...]:
    """The origins that `absorb` recorded."""
    return tuple(model.graph.meta.get(_ABSORBED, ()))
