"""Which layers cost the most: each is quantized alone, and what the answers lose is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from cnntk.quantization.config import Kind, Recipe

__all__ = ["Move", "Ranking", "rank"]


class Measure(Protocol):
    """What ranking needs of a workbench."""

    def divergence(self, recipe: Recipe) -> float:
        """How far the answers by a recipe are from the original's, in nats."""
        ...


@dataclass(frozen=True)
class Move:
    """One layer, one step back in precision.

    Attributes:
        layer: by the name of its node.
        kind: what it becomes.
        gain: what it mends, as far as the layer alone tells, in nats.
    """

    layer: str
    kind: Kind
    gain: float


@dataclass(frozen=True)
class Ranking:
    """The order in which precision is given back.

    Attributes:
        moves: the dearest first; all of them together leave nothing quantized.
        costs: by layer, how far the answers are from the original's with it alone quantized, in nats.
    """

    moves: tuple[Move, ...]
    costs: dict[str, float]


def rank(bench: Measure, recipe: Recipe, progress: Callable[[str, int, int], None] | None = None) -> Ranking:
    """Ranks the quantized layers of a recipe.

    A layer's cost is what the answers lose when it alone is quantized. The other way round, what they win
    back when it alone is not, would run in integers and so faster; but where two layers do the same damage,
    as one that writes a value on too coarse a grid and one that reads it, giving back either mends nothing,
    and both would be ranked last. A layer of 4 bits is asked about twice: with 4 and with 8.
    """
    layers = [(name, layer.kind) for name, layer in recipe.layers.items() if layer.kind != "float32"]
    alone = recipe
    for name, _ in layers:
        alone = alone.with_kind(name, "float32", "")
    moves: list[Move] = []
    costs: dict[str, float] = {}
    for done, (name, kind) in enumerate(layers):
        if progress is not None:
            progress("ranking layers", done, len(layers))
        costs[name] = bench.divergence(alone.with_kind(name, kind, ""))
        if kind == "int4":
            moves += _in_two(name, costs[name], bench.divergence(alone.with_kind(name, "int8", "")))
        else:
            moves.append(Move(name, "float32", costs[name]))
    return Ranking(tuple(sorted(moves, key=lambda move: -move.gain)), costs)


def _in_two(name: str, with_4: float, with_8: float) -> tuple[Move, ...]:
    """4 bits to 8 and 8 to float32; in one where the second mends more, as it must not come first."""
    if with_8 >= with_4 - with_8:
        return (Move(name, "float32", with_4),)
    return Move(name, "int8", with_4 - with_8), Move(name, "float32", with_8)
