from __future__ import annotations

from typing import Any

import pytest

from cnntk.reports.trials import LEFT, RIGHT, TOP, WIDTH, bars_of, draw_trials


def step(ratio: float, drop: float, size: int, verdict: str = "holds") -> dict[str, Any]:
    return {
        "change": "x",
        "size_bytes": size,
        "race": {"ratio": ratio, "low": ratio * 0.9, "high": ratio * 1.1},
        "accuracy": {"drop": drop, "drop_low": drop - 0.1, "drop_high": drop + 0.1},
        "verdict": verdict,
    }


def report(*steps: dict[str, Any]) -> dict[str, Any]:
    return {
        "path_steps": list(steps),
        "setting": {"max_drop": 0.5},
        "original_size_bytes": 400,
        "changed": True,
        "race": steps[-1]["race"] if steps else None,
    }


def test_faster_is_to_the_right_and_worse_above() -> None:
    plot = draw_trials(report(step(3, 1.0, 100, "drops"), step(2, 0.1, 100)))
    assert plot is not None
    original, first, second = plot.dots
    assert original.x < second.x < first.x
    assert first.y < plot.allowed.at < second.y
    assert [d.kind for d in plot.dots] == ["original", "fails", "chosen"]
    assert first.low < first.x < first.high
    assert first.top is not None
    assert first.bottom is not None
    assert first.top < first.y < first.bottom
    assert plot.equal == original.x


def test_a_quarter_of_the_size_has_half_the_radius() -> None:
    plot = draw_trials(report(step(2, 0.1, 100)))
    assert plot is not None
    assert plot.dots[1].radius == pytest.approx(plot.dots[0].radius / 2)


def test_what_is_far_off_stands_on_the_edge() -> None:
    plot = draw_trials(report(step(2, 86, 100, "drops"), step(1.5, 0.4, 100)))
    assert plot is not None
    assert plot.dots[1].y == TOP
    assert plot.dots[2].y - plot.allowed.at > 3


@pytest.mark.parametrize("drop", [0.0, -3.0, 1e-9])
def test_any_figures_can_be_drawn(drop: float) -> None:
    data = report(step(0.001, drop, 1))
    for max_drop in (0.0, 100.0):
        data["setting"]["max_drop"] = max_drop
        plot = draw_trials(data)
        assert plot is not None
        assert all(LEFT <= d.x <= WIDTH - RIGHT for d in plot.dots)
        assert plot.costs
        assert plot.speeds


def test_nothing_to_draw() -> None:
    assert draw_trials(report()) is None
    assert draw_trials({**report(), "path_steps": [{**step(1, 1, 1), "race": None}]}) is None


def test_bars_share_the_work() -> None:
    layers = [
        {"title": "a", "kind": "int8", "reason": "", "multiply_adds": 30, "cost": 0.4},
        {"title": "b", "kind": "float32", "reason": "small", "multiply_adds": 10, "cost": -0.1},
        {"title": "c", "kind": "float32", "reason": "", "multiply_adds": 0, "cost": None},
    ]
    bars = bars_of(layers)
    assert [b.work for b in bars] == [0.75, 0.25, 0]
    assert [b.cost for b in bars] == [1, 0, None]
    assert bars[1].hint == "b: float32, small"
