from __future__ import annotations

from cnntk.quantization.config import Kind, LayerPlan, Recipe
from cnntk.quantization.ranking import Move, rank

COSTS: dict[str, dict[Kind, float]] = {
    "first": {"float32": 0, "int8": 0.5},
    "wide": {"float32": 0, "int8": 0.01, "int4": 0.2},
    "narrow": {"float32": 0, "int8": 0.4, "int4": 0.45},
    "kept": {"float32": 0},
}


class Sums:
    """Whose divergence is the sum of the layers' own."""

    def __init__(self) -> None:
        self.asked = 0

    def divergence(self, recipe: Recipe) -> float:
        self.asked += 1
        return sum(COSTS[name][layer.kind] for name, layer in recipe.layers.items())


def recipe(**kinds: Kind) -> Recipe:
    return Recipe({name: LayerPlan(kind) for name, kind in kinds.items()})


def test_the_dearest_first() -> None:
    bench, told = Sums(), []
    found = rank(bench, recipe(kept="float32", wide="int8", first="int8"), lambda *a: told.append(a))
    assert found.moves == (Move("first", "float32", 0.5), Move("wide", "float32", 0.01))
    assert found.costs == {"wide": 0.01, "first": 0.5}
    assert bench.asked == 2
    assert told == [("ranking layers", 0, 2), ("ranking layers", 1, 2)]


def test_four_bits_go_back_in_two_steps_where_the_first_mends_more() -> None:
    found = rank(Sums(), recipe(wide="int4"))
    assert [(m.layer, m.kind) for m in found.moves] == [("wide", "int8"), ("wide", "float32")]


def test_four_bits_go_back_at_once_where_eight_mend_little() -> None:
    assert rank(Sums(), recipe(narrow="int4")).moves == (Move("narrow", "float32", 0.45),)


def test_all_moves_leave_nothing_quantized() -> None:
    start = recipe(first="int8", wide="int4", narrow="int4", kept="float32")
    end = start
    for move in rank(Sums(), start).moves:
        end = end.with_kind(move.layer, move.kind, "")
    assert end.is_float
