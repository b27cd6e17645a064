"""The decisions, on layers whose cost and speed are given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from cnntk.benchmark.compare import Comparison
from cnntk.quantization.accuracy import Accuracy
from cnntk.quantization.candidates import Built, LayerFacts
from cnntk.quantization.config import Kind, LayerPlan, Recipe
from cnntk.quantization.result import Goal, SearchResult, Step
from cnntk.quantization.search import first_recipe, search
from cnntk.runtime.errors import InferenceError


@dataclass(frozen=True)
class Given:
    """A layer: points that it costs in integers, and ms in float32 and in integers."""

    cost: float = 0.0
    float_ms: float = 10.0
    int_ms: float = 2.0
    op: str = "Conv"
    work: int = 1000


@dataclass
class Table:
    """A bench that reads its answers off a table, and counts what it is asked."""

    layers: dict[str, Given]
    overhead_ms: float = 0.0
    refused: tuple[str, ...] = ()
    corrected: float = 1.0  # what is left of the divergence
    equalized: float | None = None
    after: Callable[[int], None] = lambda count: None
    asked: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)

    @property
    def facts(self) -> dict[str, LayerFacts]:
        return {n: LayerFacts(n, g.op, g.work, g.work) for n, g in self.layers.items()}

    @property
    def can_equalize(self) -> bool:
        return self.equalized is not None

    def accuracy(self, recipe: Recipe) -> Accuracy:
        self._ask("accuracy", recipe)
        cost = self._cost(recipe)
        return Accuracy(1000, 100.0, 0.0, drop=cost, drop_low=cost - 0.2, drop_high=cost + 0.2)

    def divergence(self, recipe: Recipe) -> float:
        self._ask("divergence", recipe)
        return self._cost(recipe)

    def race(self, recipe: Recipe) -> Comparison:
        self._ask("race", recipe)
        return self._race(sum(g.float_ms for g in self.layers.values()), self._ms(recipe))

    def race_between(self, first: Recipe, second: Recipe) -> Comparison:
        self._ask("race between", second)
        return self._race(self._ms(first), self._ms(second))

    def built(self, recipe: Recipe) -> Built:
        bytes_of = {"float32": 4, "float16": 2, "int8": 1, "int4": 0.5}
        size = sum(bytes_of[layer.kind] * self.layers[n].work for n, layer in recipe.layers.items())
        return Built(int(size), 2 * len(self._integers(recipe)), self.refused)

    def _cost(self, recipe: Recipe) -> float:
        left = (self.corrected if recipe.corrected else 1.0) * (
            (self.equalized or 1.0) if recipe.equalized else 1.0
        )
        return left * sum(self.layers[n].cost for n in self._integers(recipe) if _is_int(recipe, n))

    def _ask(self, what: str, recipe: Recipe) -> None:
        self.asked.append((what, tuple(self._integers(recipe))))
        self.after(len(self.asked))

    def _integers(self, recipe: Recipe) -> list[str]:
        return [n for n, layer in recipe.layers.items() if layer.kind != "float32"]

    def _ms(self, recipe: Recipe) -> float:
        integers = self._integers(recipe)
        own = sum(g.int_ms if n in integers else g.float_ms for n, g in self.layers.items())
        return own + (self.overhead_ms if integers else 0.0)

    def _race(self, first: float, second: float) -> Comparison:
        ratio = first / second
        return Comparison(ratio, ratio * 0.99, ratio * 1.01, first, second, 100)


def _is_int(recipe: Recipe, name: str) -> bool:
    return recipe.layers[name].kind.startswith("int")


def every(bench: Table, kind: Kind = "int8") -> Recipe:
    return Recipe({name: LayerPlan(kind) for name in bench.layers})


def integers(found: SearchResult) -> set[str]:
    return {n for n, layer in found.recipe.layers.items() if layer.kind != "float32"}


def test_the_whole_where_it_holds() -> None:
    bench = Table({"a": Given(), "b": Given()})
    found = search(bench, every(bench))
    assert found.chosen is not None
    assert integers(found) == {"a", "b"}
    assert [s.verdict for s in found.path] == ["holds"]
    assert found.ranking is None


def test_the_dearest_layers_get_their_precision_back() -> None:
    costs = [0.02, 3.0, 0.03, 0.04, 0.6, 0.05, 0.01, 0.1]
    bench = Table({f"l{i}": Given(cost) for i, cost in enumerate(costs)})
    found = search(bench, every(bench), Goal(max_drop=0.5))
    assert integers(found) == {f"l{i}" for i in range(8)} - {"l1", "l4"}
    assert "for accuracy: alone it costs 3 nats" in found.recipe.layers["l1"].reason
    assert found.chosen is not None
    assert found.chosen.accuracy is not None
    assert found.chosen.accuracy.cost == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("corrected", "equalized", "kept"),
    [(0.5, None, {"corrected"}), (1.0, 0.1, {"equalized"}), (0.5, 0.4, {"corrected", "equalized"}),
     (0.97, 0.99, set()), (2.0, 2.0, set())],
)  # fmt: skip
def test_a_refinement_is_kept_where_it_helps(
    corrected: float, equalized: float | None, kept: set[str]
) -> None:
    bench = Table({"a": Given(0.4), "b": Given(0.05)}, corrected=corrected, equalized=equalized)
    found = search(bench, every(bench))
    assert found.chosen is not None
    assert {n for n in ("corrected", "equalized") if getattr(found.recipe, n)} == kept
    assert any(r.kept for r in found.refinements) == bool(kept)
    assert all(r.before == pytest.approx(0.45) for r in found.refinements)
    assert ("kept" if kept else "not kept") in str(found.refinements[-1])


def test_a_refinement_can_save_layers_from_float() -> None:
    layers = {"a": Given(2.0), "b": Given(0.05)}
    assert integers(search(Table(layers), every(Table(layers)))) == {"b"}
    assert integers(search(Table(layers, equalized=0.1), every(Table(layers)))) == {"a", "b"}


def test_what_stays_float_takes_half_the_bytes_where_size_counts() -> None:
    layers = {"a": Given(2.0), "b": Given(0.05)}
    found = search(Table(layers), every(Table(layers)), Goal(prefer="size"))
    assert found.recipe.layers["a"].kind == "float16"
    assert "half the bytes" in found.recipe.layers["a"].reason
    assert found.recipe.layers["b"].kind == "int8"
    for_speed = search(Table(layers), every(Table(layers)))
    assert for_speed.recipe.layers["a"].kind == "float32"


@pytest.mark.parametrize(("int_ms", "taken"), [(0.2, {"a", "small"}), (5.0, {"a"})])
def test_what_the_plan_left_in_float_is_tried(int_ms: float, taken: set[str]) -> None:
    bench = Table({"a": Given(work=9000), "small": Given(float_ms=1.0, int_ms=int_ms, work=2000)})
    plan = every(bench).with_kind("small", "float32", "only 100 weights")
    assert integers(search(bench, plan)) == taken
    bench.refused = ("small",)
    assert "small" not in integers(search(bench, plan))


def test_few_candidates_are_built_for_many_layers() -> None:
    bench = Table({f"l{i}": Given(0.1) for i in range(64)})
    found = search(bench, every(bench), Goal(max_drop=3.0))
    assert len(integers(found)) == 30
    assert len([what for what, _ in bench.asked if what == "accuracy"]) <= 1 + 6 + 4


def test_a_layer_that_was_given_back_for_nothing_is_taken_again() -> None:
    """Alone ``loud`` costs most, together with the others it costs nothing."""

    class Masked(Table):
        def accuracy(self, recipe: Recipe) -> Accuracy:
            found = super().accuracy(recipe)
            cost = sum(self.layers[n].cost for n in self._integers(recipe) if n != "loud")
            return Accuracy(found.images, 100.0, 0.0, drop=cost, drop_low=cost, drop_high=cost)

    bench = Masked({"loud": Given(9.0), "wrong": Given(2.0), "c": Given(0.1), "d": Given(0.1)})
    assert integers(search(bench, every(bench))) == {"loud", "c", "d"}


def test_the_original_stays_where_no_layer_holds_the_bound() -> None:
    bench = Table({"a": Given(4.0), "b": Given(2.0)})
    found = search(bench, every(bench))
    assert found.chosen is None
    assert found.recipe.is_float
    assert found.reason.startswith("accuracy: ")
    assert "drops by 2.00 points, 0.5 allowed" in found.reason


def test_a_bound_of_zero_is_one() -> None:
    bench = Table({"a": Given(0.0), "b": Given(0.01)})
    assert integers(search(bench, every(bench), Goal(max_drop=0))) == {"a"}


def test_a_slower_model_is_not_taken() -> None:
    bench = Table({"a": Given(float_ms=1, int_ms=1), "b": Given(float_ms=1, int_ms=1)}, overhead_ms=2)
    found = search(bench, every(bench))
    assert found.chosen is None
    assert found.reason.startswith("speed: ")
    assert "0.50 times as fast (0.49 to 0.51)" in found.reason
    assert "4 nodes that convert" in found.reason
    assert {layer.reason for layer in found.recipe.layers.values()} == {
        "for speed: integers were no faster here"
    }


def test_a_model_that_is_as_fast_within_noise_is_taken_only_if_surely_not_slower() -> None:
    even = Table({"a": Given(float_ms=10, int_ms=9.98)})
    slower = Table({"a": Given(float_ms=10, int_ms=10.02)})
    assert search(even, every(even)).chosen is not None
    assert search(slower, every(slower)).chosen is None


def test_the_layers_that_are_worth_it_stay_in_integers() -> None:
    """Small layers are far slower in integers, and make the whole so."""
    small = {f"s{i}": Given(float_ms=1, int_ms=5, work=10 + i) for i in range(6)}
    bench = Table({"big": Given(float_ms=20, int_ms=5, work=10_000), **small})
    found = search(bench, every(bench))
    assert integers(found) == {"big"}
    assert found.path[0].verdict == "0.74 times as fast (0.74 to 0.75)"
    assert found.chosen is not None
    assert found.chosen.race is not None
    assert found.chosen.race.ratio > 2


def test_convolutions_alone_are_tried_where_there_are_other_layers() -> None:
    slow = Given(float_ms=5, int_ms=60, op="Gemm", work=5000)
    bench = Table({"c": Given(), "d": Given(), "fc": slow})
    assert integers(search(bench, every(bench))) == {"c", "d"}


def test_what_is_too_slow_is_not_asked_for_its_accuracy() -> None:
    bench = Table({f"l{i}": Given(float_ms=1, int_ms=2) for i in range(8)})
    found = search(bench, every(bench))
    assert found.chosen is None
    assert [s.accuracy is None for s in found.path] == [False, True, True, True]


def test_a_small_layer_that_is_faster_in_float_stays_so() -> None:
    bench = Table({"big": Given(work=10_000), "first": Given(float_ms=1, int_ms=2, work=10)})
    found = search(bench, every(bench))
    assert integers(found) == {"big"}
    assert found.recipe.layers["first"].reason == "for speed: faster so than as int8"
    assert found.path[-1].change == "layer first in float32, too"


def test_size_asks_for_no_speed_and_for_all_layers() -> None:
    bench = Table({"a": Given(int_ms=50), "fc": Given(op="Gemm", int_ms=50), "last": Given(op="Gemm")})
    found = search(bench, every(bench).with_kind("a", "float32", "small"), Goal(prefer="size"))
    assert {n: layer.kind for n, layer in found.recipe.layers.items()} == {
        "a": "int8",
        "fc": "int4",
        "last": "int8",
    }
    assert found.chosen is not None
    assert found.chosen.race is not None
    assert found.chosen.race.ratio < 1


def test_a_plan_without_integers_is_measured_all_the_same() -> None:
    bench = Table({"a": Given(float_ms=1, int_ms=3)})
    plan = every(bench, "float32")
    assert not first_recipe(plan, bench.facts, Goal()).is_float
    found = search(bench, plan)
    assert found.chosen is None
    assert "0.33 times as fast" in found.path[0].verdict


def test_a_layer_without_a_kernel_is_named() -> None:
    bench = Table({"a": Given(), "odd": Given()}, refused=("odd",))
    found = search(bench, every(bench))
    assert found.recipe.layers["odd"] == LayerPlan("float32", "there is no kernel for it in integers")
    assert integers(found) == {"a"}
    bench.refused = ("a", "odd")
    assert search(bench, every(bench)).reason == "no layer of it can be computed in integers"


def test_a_candidate_that_fails_does_not_hold() -> None:
    class Failing(Table):
        def accuracy(self, recipe: Recipe) -> Accuracy:
            if "bad" in self._integers(recipe):
                raise InferenceError("logits[0] is nan")
            return super().accuracy(recipe)

    bench = Failing({"bad": Given(1.0), "b": Given(), "c": Given()})
    found = search(bench, every(bench))
    assert integers(found) == {"b", "c"}
    assert found.path[0].verdict == "can't be run: logits[0] is nan"


def interrupt_after(count: int) -> Callable[[int], None]:
    def check(asked: int) -> None:
        if asked > count:
            raise KeyboardInterrupt

    return check


def test_ctrl_c_keeps_the_best_so_far() -> None:
    bench = Table(
        {"big": Given(work=9000), "s": Given(float_ms=1, int_ms=2, work=1)}, after=interrupt_after(4)
    )
    found = search(bench, every(bench))
    assert found.interrupted
    assert found.chosen is found.path[0]


def test_ctrl_c_before_anything_holds_is_one() -> None:
    bench = Table({"a": Given(3.0), "b": Given(3.0)}, after=interrupt_after(5))
    with pytest.raises(KeyboardInterrupt):
        search(bench, every(bench))


@pytest.mark.parametrize("goal", [{"max_drop": -1}, {"max_drop": 101}, {"prefer": "beauty"}])
def test_goals_that_make_no_sense(goal: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Goal(**goal)  # type: ignore[arg-type]


def test_json() -> None:
    bench = Table({f"l{i}": Given(i) for i in range(4)})
    found = search(bench, every(bench)).to_json()
    assert found["chosen"]["verdict"] == "holds"
    assert len(found["path"]) > 1
    assert found["ranking"]["costs"]["l3"] == 3
    assert Step("x", every(bench), 1, None, None, "no").to_json()["race"] is None
