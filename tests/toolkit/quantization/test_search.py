"""Decisions of the search, on layers with a known KL divergence and speed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from cnntk.benchmark.compare import Comparison
from cnntk.quantization.accuracy import Accuracy
from cnntk.quantization.candidates import GraphStats, LayerInfo
from cnntk.quantization.config import LayerPlan, Precision, QuantConfig
from cnntk.quantization.search import Promotion, SearchResult, initial_config, rank_layers, search
from cnntk.runtime.errors import InferenceError


@dataclass(frozen=True)
class Layer:
    """A layer: top-1 drop in points in integers, and ms in float32 and in integers."""

    drop: float = 0.0
    float_ms: float = 10.0
    int_ms: float = 2.0
    op: str = "Conv"
    work: int = 1000


@dataclass
class Evaluator:
    """An evaluator that reads measurements from a table, and records its calls."""

    table: dict[str, Layer]
    overhead_ms: float = 0.0
    unsupported: tuple[str, ...] = ()
    corrected: float = 1.0  # share of the KL divergence that remains
    equalized: float | None = None
    edges: tuple[str, ...] | None = None  # all
    after: Callable[[int], None] = lambda count: None
    calls: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)

    @property
    def layers(self) -> dict[str, LayerInfo]:
        return {n: LayerInfo(n, g.op, g.work, g.work) for n, g in self.table.items()}

    @property
    def can_equalize(self) -> bool:
        return self.equalized is not None

    def accuracy(self, config: QuantConfig) -> Accuracy:
        self._record("accuracy", config)
        drop = self._drop(config)
        return Accuracy(1000, 100.0, 0.0, drop=drop, drop_low=drop - 0.2, drop_high=drop + 0.2)

    def kl_divergence(self, config: QuantConfig) -> float:
        self._record("kl_divergence", config)
        return self._drop(config)

    def speed(self, config: QuantConfig, baseline: QuantConfig | None = None) -> Comparison:
        self._record("speed", config)
        original = sum(g.float_ms for g in self.table.values())
        ratio = (original if baseline is None else self._ms(baseline)) / self._ms(config)
        return Comparison(ratio, ratio * 0.99, ratio * 1.01, ratio, 1.0, 100)

    def graph_stats(self, config: QuantConfig) -> GraphStats:
        bytes_of = {"float32": 4, "float16": 2, "int8": 1, "int4": 0.5}
        size = sum(bytes_of[layer.precision] * self.table[n].work for n, layer in config.layers.items())
        edges = tuple(self._integers(config)) if self.edges is None else self.edges
        return GraphStats(int(size), 2 * len(self._integers(config)), self.unsupported, edges)

    def _drop(self, config: QuantConfig) -> float:
        left = (self.corrected if config.bias_correction else 1.0) * (
            (self.equalized or 1.0) if config.equalized else 1.0
        )
        return left * sum(self.table[n].drop for n in self._integers(config) if _is_int(config, n))

    def _record(self, name: str, config: QuantConfig) -> None:
        self.calls.append((name, tuple(self._integers(config))))
        self.after(len(self.calls))

    def _integers(self, config: QuantConfig) -> list[str]:
        return [n for n, layer in config.layers.items() if layer.precision != "float32"]

    def _ms(self, config: QuantConfig) -> float:
        integers = self._integers(config)
        total = sum(g.int_ms if n in integers else g.float_ms for n, g in self.table.items())
        return total + (self.overhead_ms if integers else 0.0)


def _is_int(config: QuantConfig, name: str) -> bool:
    return config.layers[name].precision.startswith("int")


def every(evaluator: Evaluator, kind: Precision = "int8") -> QuantConfig:
    return QuantConfig({name: LayerPlan(kind) for name in evaluator.layers})


def integers(result: SearchResult) -> set[str]:
    return {n for n, layer in result.config.layers.items() if layer.precision != "float32"}


def test_the_whole_config_is_selected_if_it_is_accepted() -> None:
    evaluator = Evaluator({"a": Layer(), "b": Layer()})
    result = search(evaluator, every(evaluator))
    assert result.selected is not None
    assert integers(result) == {"a", "b"}
    assert [s.verdict for s in result.candidates] == ["accepted"]
    assert result.ranking is None


def test_layers_with_the_largest_kl_divergence_are_promoted() -> None:
    drops = [0.02, 3.0, 0.03, 0.04, 0.6, 0.05, 0.01, 0.1]
    evaluator = Evaluator({f"l{i}": Layer(drop) for i, drop in enumerate(drops)})
    result = search(evaluator, every(evaluator), max_drop=0.5)
    assert integers(result) == {f"l{i}" for i in range(8)} - {"l1", "l4"}
    assert (
        "for accuracy: alone it adds 3 to the KL divergence from the original"
        in result.config.layers["l1"].reason
    )
    assert result.selected is not None
    assert result.selected.accuracy is not None
    assert result.selected.accuracy.judged_drop == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("corrected", "equalized", "accepted"),
    [
        (0.5, None, {"bias_correction"}),
        (1.0, 0.1, {"equalized"}),
        (0.5, 0.4, {"bias_correction", "equalized"}),
        (0.97, 0.99, set()),
        (2.0, 2.0, set()),
    ],
)
def test_a_refinement_is_accepted_if_it_helps(
    corrected: float, equalized: float | None, accepted: set[str]
) -> None:
    evaluator = Evaluator({"a": Layer(0.4), "b": Layer(0.05)}, corrected=corrected, equalized=equalized)
    result = search(evaluator, every(evaluator))
    assert result.selected is not None
    assert {n for n in ("bias_correction", "equalized") if getattr(result.config, n)} == accepted
    assert any(r.accepted for r in result.refinements) == bool(accepted)
    assert all(r.before == pytest.approx(0.45) for r in result.refinements)
    assert ("accepted" if accepted else "not accepted") in str(result.refinements[-1])


def test_a_refinement_can_save_layers_from_float() -> None:
    layers = {"a": Layer(2.0), "b": Layer(0.05)}
    assert integers(search(Evaluator(layers), every(Evaluator(layers)))) == {"b"}
    assert integers(search(Evaluator(layers, equalized=0.1), every(Evaluator(layers)))) == {
        "a",
        "b",
    }


def test_float_layers_are_stored_in_16_bits_if_size_is_preferred() -> None:
    layers = {"a": Layer(2.0), "b": Layer(0.05)}
    result = search(Evaluator(layers), every(Evaluator(layers)), prefer="size")
    assert result.config.layers["a"].precision == "float16"
    assert "half the bytes" in result.config.layers["a"].reason
    assert result.config.layers["b"].precision == "int8"
    for_speed = search(Evaluator(layers), every(Evaluator(layers)))
    assert for_speed.config.layers["a"].precision == "float32"


def test_few_candidates_are_created_for_many_layers() -> None:
    evaluator = Evaluator({f"l{i}": Layer(0.1) for i in range(64)})
    result = search(evaluator, every(evaluator), max_drop=3.0)
    assert len(integers(result)) == 30
    assert len([name for name, _ in evaluator.calls if name == "accuracy"]) <= 1 + 6 + 4


def test_a_layer_that_was_promoted_in_vain_is_demoted() -> None:
    """Alone ``loud`` has the largest KL divergence, together with the others it makes no difference."""

    class Masked(Evaluator):
        def accuracy(self, config: QuantConfig) -> Accuracy:
            result = super().accuracy(config)
            drop = sum(self.table[n].drop for n in self._integers(config) if n != "loud")
            return Accuracy(result.images, 100.0, 0.0, drop=drop, drop_low=drop, drop_high=drop)

    evaluator = Masked({"loud": Layer(9.0), "wrong": Layer(2.0), "c": Layer(0.1), "d": Layer(0.1)})
    assert integers(search(evaluator, every(evaluator))) == {"loud", "c", "d"}


def test_the_original_is_kept_if_no_layer_is_accurate_enough() -> None:
    evaluator = Evaluator({"a": Layer(4.0), "b": Layer(2.0)})
    result = search(evaluator, every(evaluator))
    assert result.selected is None
    assert result.config.is_float
    assert result.reason.startswith("accuracy: ")
    assert "top-1 drop 2.00 points (limit 0.5)" in result.reason


def test_a_limit_of_zero_is_respected() -> None:
    evaluator = Evaluator({"a": Layer(0.0), "b": Layer(0.01)})
    assert integers(search(evaluator, every(evaluator), max_drop=0)) == {"a"}


def test_a_slower_model_is_not_selected() -> None:
    evaluator = Evaluator({"a": Layer(float_ms=1, int_ms=1), "b": Layer(float_ms=1, int_ms=1)}, overhead_ms=2)
    result = search(evaluator, every(evaluator))
    assert result.selected is None
    assert result.reason.startswith("speed: ")
    assert (
        "2.00x slower than the original (95 % interval 1.98x to 2.02x, 1.00 ms vs 0.500 ms)" in result.reason
    )
    assert "conversions to integers and back in 4 nodes cost more time" in result.reason
    assert {layer.reason for layer in result.config.layers.values()} == {
        "for speed: integers were no faster here"
    }


def test_a_model_of_equal_speed_is_selected_only_if_certainly_not_slower() -> None:
    even = Evaluator({"a": Layer(float_ms=10, int_ms=9.98)})
    slower = Evaluator({"a": Layer(float_ms=10, int_ms=10.02)})
    assert search(even, every(even)).selected is not None
    assert search(slower, every(slower)).selected is None


def test_only_layers_that_gain_speed_stay_in_integers() -> None:
    """Small layers are far slower in integers, and make the whole so."""
    small = {f"s{i}": Layer(float_ms=1, int_ms=5, work=10 + i) for i in range(6)}
    evaluator = Evaluator({"big": Layer(float_ms=20, int_ms=5, work=10_000), **small})
    result = search(evaluator, every(evaluator))
    assert integers(result) == {"big"}
    assert result.candidates[0].verdict.startswith(
        "1.35x slower than the original (95 % interval 1.33x to 1.36x, "
    )
    assert result.selected is not None
    assert result.selected.speed is not None
    assert result.selected.speed.ratio > 2


def test_convolutions_alone_are_tried_where_there_are_other_layers() -> None:
    slow = Layer(float_ms=5, int_ms=60, op="Gemm", work=5000)
    evaluator = Evaluator({"c": Layer(), "d": Layer(), "fc": slow})
    assert integers(search(evaluator, every(evaluator))) == {"c", "d"}


def test_accuracy_of_slow_candidates_is_not_measured() -> None:
    evaluator = Evaluator({f"l{i}": Layer(float_ms=1, int_ms=2) for i in range(8)})
    result = search(evaluator, every(evaluator))
    assert result.selected is None
    assert [s.accuracy is None for s in result.candidates] == [False, True, True, True]


def test_a_small_layer_that_is_faster_in_float_stays_float() -> None:
    evaluator = Evaluator({"big": Layer(work=10_000), "first": Layer(float_ms=1, int_ms=2, work=10)})
    result = search(evaluator, every(evaluator))
    assert integers(result) == {"big"}
    assert result.config.layers["first"].reason == "for speed: faster than as int8"
    assert result.candidates[-1].change == "layer first in float32, too"
    evaluator.edges = ("big",)  # between layers in integers it is not tried
    assert integers(search(evaluator, every(evaluator))) == {"big", "first"}


def test_size_ignores_speed_and_quantizes_all_layers() -> None:
    evaluator = Evaluator(
        {"a": Layer(int_ms=50), "fc": Layer(op="Gemm", int_ms=50), "last": Layer(op="Gemm")}
    )
    result = search(evaluator, every(evaluator).with_precision("a", "float32", "small"), prefer="size")
    assert {n: layer.precision for n, layer in result.config.layers.items()} == {
        "a": "int8",
        "fc": "int4",
        "last": "int8",
    }
    assert result.selected is not None
    assert result.selected.speed is not None
    assert result.selected.speed.ratio < 1


def test_a_config_without_integers_is_extended_to_measure_them() -> None:
    evaluator = Evaluator({"a": Layer(float_ms=1, int_ms=3)})
    plan = every(evaluator, "float32")
    assert not initial_config(plan, evaluator.layers, "speed").is_float
    result = search(evaluator, plan)
    assert result.selected is None
    assert "3.00x slower than the original" in result.candidates[0].verdict


def test_a_layer_that_integers_cannot_compute_is_named() -> None:
    evaluator = Evaluator({"a": Layer(), "odd": Layer()}, unsupported=("odd",))
    result = search(evaluator, every(evaluator))
    assert result.config.layers["odd"] == LayerPlan("float32", "integers can't compute it")
    assert integers(result) == {"a"}
    evaluator.unsupported = ("a", "odd")
    assert search(evaluator, every(evaluator)).reason == "no layer can be computed in integers"


def test_a_candidate_that_fails_is_not_accepted() -> None:
    class Failing(Evaluator):
        def accuracy(self, config: QuantConfig) -> Accuracy:
            if "bad" in self._integers(config):
                raise InferenceError("logits[0] is nan")
            return super().accuracy(config)

    evaluator = Failing({"bad": Layer(1.0), "b": Layer(), "c": Layer()})
    result = search(evaluator, every(evaluator))
    assert integers(result) == {"b", "c"}
    assert result.candidates[0].verdict == "can't be run: logits[0] is nan"


def interrupt_after(limit: int) -> Callable[[int], None]:
    def check(count: int) -> None:
        if count > limit:
            raise KeyboardInterrupt

    return check


def test_ctrl_c_returns_the_best_so_far() -> None:
    evaluator = Evaluator(
        {"big": Layer(work=9000), "s": Layer(float_ms=1, int_ms=2, work=1)}, after=interrupt_after(4)
    )
    result = search(evaluator, every(evaluator))
    assert result.interrupted
    assert result.selected is result.candidates[0]


def test_ctrl_c_before_any_accepted_candidate_is_raised() -> None:
    evaluator = Evaluator({"a": Layer(3.0), "b": Layer(3.0)}, after=interrupt_after(5))
    with pytest.raises(KeyboardInterrupt):
        search(evaluator, every(evaluator))


KL_DIVERGENCES: dict[str, dict[Precision, float]] = {
    "first": {"float32": 0, "int8": 0.5},
    "wide": {"float32": 0, "int8": 0.01, "int4": 0.2},
    "narrow": {"float32": 0, "int8": 0.4, "int4": 0.45},
    "unchanged": {"float32": 0},
}


class Sums(Evaluator):
    """An evaluator whose KL divergence is the sum of the layers' own."""

    def __init__(self) -> None:
        super().__init__({})

    def kl_divergence(self, config: QuantConfig) -> float:
        self._record("kl_divergence", config)
        return sum(KL_DIVERGENCES[name][plan.precision] for name, plan in config.layers.items())


def config(**precisions: Precision) -> QuantConfig:
    return QuantConfig({name: LayerPlan(precision) for name, precision in precisions.items()})


def test_the_largest_kl_divergence_is_first() -> None:
    evaluator, stages = Sums(), []
    ranking = rank_layers(
        evaluator, config(unchanged="float32", wide="int8", first="int8"), lambda *a: stages.append(a)
    )
    assert ranking.promotions == (Promotion("first", "float32", 0.5), Promotion("wide", "float32", 0.01))
    assert ranking.kl_divergence == {"wide": 0.01, "first": 0.5}
    assert len(evaluator.calls) == 2
    assert stages == [("ranking layers", 0, 2), ("ranking layers", 1, 2)]


def test_four_bits_are_promoted_in_two_steps_if_the_first_gains_more() -> None:
    ranking = rank_layers(Sums(), config(wide="int4"))
    assert [(m.layer, m.precision) for m in ranking.promotions] == [("wide", "int8"), ("wide", "float32")]


def test_four_bits_are_promoted_at_once_if_eight_gain_little() -> None:
    assert rank_layers(Sums(), config(narrow="int4")).promotions == (Promotion("narrow", "float32", 0.45),)


def test_all_promotions_leave_nothing_quantized() -> None:
    start = config(first="int8", wide="int4", narrow="int4", unchanged="float32")
    end = start
    for promotion in rank_layers(Sums(), start).promotions:
        end = end.with_precision(promotion.layer, promotion.precision, "")
    assert end.is_float
