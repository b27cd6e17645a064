"""Shapes with a symbolic batch: a dimension is a number, ``"N"``, ``"64*N"``, or None where not known."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import onnx_ir as ir

BATCH = "N"

Dim = int | str | None
Shape = tuple[Dim, ...]

_TERM = re.compile(r"(?:(\d+)\*)?([A-Za-z_]\w*)")
_WORD = re.compile(r"[A-Za-z_]\w*")


def product(dims: Iterable[Dim]) -> Dim:
    """Product of dimensions; None where one is not known or two are symbols."""
    number, symbol = 1, ""
    for dim in dims:
        term = _term(dim)
        if term is None or (symbol and term[1]):
            return None
        number, symbol = number * term[0], symbol or term[1]
    return _joined(number, symbol)


def quotient(dividend: Dim, divisor: Dim) -> Dim:
    """Quotient of two dimensions; None where it is not an integer or not known."""
    above, below = _term(dividend), _term(divisor)
    if above is None or below is None or below[0] == 0 or above[0] % below[0]:
        return None
    if below[1] and below[1] != above[1]:
        return None
    return _joined(above[0] // below[0], "" if below[1] else above[1])


def at_batch(dim: Dim, batch: int) -> int | None:
    """Size of a dimension at a batch size; None where it contains another symbol."""
    term = _term(dim)
    if term is None or term[1] not in ("", BATCH):
        return None
    return term[0] * batch if term[1] else term[0]


def same(one: Dim, other: Dim) -> bool | None:
    """Whether two dimensions are equal; None where that is not known."""
    if one is None or other is None:
        return None
    if one == other:
        return True
    numbers = [at_batch(dim, batch) for dim in (one, other) for batch in (1, 2)]
    return None if None in numbers else numbers[:2] == numbers[2:]


def fold_runs(sizes: Mapping[int, int]) -> Dim:
    """One dimension from its sizes by batch: ``{1: 3, 2: 6}`` is ``"3*N"``; ``"1|3"`` where none fits."""
    if len(set(sizes.values())) == 1:
        return next(iter(sizes.values()))
    ratios = {size / batch for batch, size in sizes.items()}
    if len(ratios) == 1 and (ratio := ratios.pop()).is_integer():
        return _joined(int(ratio), BATCH)
    return "|".join(str(sizes[batch]) for batch in sorted(sizes))


def batch_symbols(model: ir.Model) -> frozenset[str]:
    """Names of the batch in a graph: the symbols of its inputs' first dimensions."""
    firsts = (v.shape[0] for v in model.graph.inputs if v.shape is not None and len(v.shape))
    return frozenset(str(d) for d in firsts if not isinstance(d, int)) | {BATCH}


def recorded_shape(value: ir.Value, symbols: frozenset[str]) -> Shape | None:
    """Shape of a value as recorded in the graph."""
    if value.shape is None:
        return None
    dims = [d if isinstance(d, int) else d.value for d in value.shape]
    if value.is_graph_input():  # some tools write an open size as -1
        dims = [None if isinstance(d, int) and d < 0 else d for d in dims]
    if value.is_graph_input() and dims and dims[0] is None:
        dims[0] = BATCH
    return with_batch_symbol(dims, symbols)


def with_batch_symbol(dims: Iterable[object], symbols: frozenset[str]) -> Shape:
    """Dimensions with ``N`` in place of other names of the batch, like torch's ``s77``."""
    return tuple(_with_batch_symbol(dim, symbols) for dim in dims)


def shape_text(shape: Shape | None) -> str:
    """``Nx6x28x28``, ``2Nx64``; ``?`` for what is not known."""
    if shape is None:
        return "?"
    return "x".join("?" if d is None else str(d).replace("*", "") for d in shape) or "scalar"


def _with_batch_symbol(dim: object, symbols: frozenset[str]) -> Dim:
    if dim is None or isinstance(dim, int):
        return dim
    return _WORD.sub(lambda word: BATCH if word[0] in symbols else word[0], str(dim))


def _term(dim: Dim) -> tuple[int, str] | None:
    """A dimension as (number, symbol)."""
    if isinstance(dim, int):
        return dim, ""
    match = _TERM.fullmatch(dim) if dim else None
    return (int(match[1] or 1), match[2]) if match else None


def _joined(number: int, symbol: str) -> Dim:
    if not symbol:
        return number
    return symbol if number == 1 else f"{number}*{symbol}"
