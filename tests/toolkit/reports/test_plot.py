import math
from typing import Any

import pytest

from cnntk.reports.plot import draw_errors


def layers(*errors: float | None, scale: float = 1.0) -> list[dict[str, Any]]:
    return [
        {"layer": f"layer{i}", "op": "Conv", "scale": scale, "torch_error": 1e-7, "onnx_error": e}
        for i, e in enumerate(errors)
    ]


def test_larger_errors_stand_higher_by_decades() -> None:
    a, b, c = (p.y for p in draw_errors(layers(1e-7, 1e-6, 1e-5)).onnx)
    assert a > b > c
    assert a - b == pytest.approx(b - c, abs=0.2)


def test_errors_are_relative_to_the_layer() -> None:
    assert draw_errors(layers(2e-7, 2e-6, scale=2)).onnx == draw_errors(layers(1e-7, 1e-6)).onnx
    assert "1e-07" in draw_errors(layers(2e-7, scale=2)).onnx[0].hint


def test_an_exact_layer_lies_on_the_lower_edge() -> None:
    plot = draw_errors(layers(0.0, 1e-7))
    assert plot.onnx[0].y == plot.bottom
    assert not plot.onnx[0].broken


@pytest.mark.parametrize("value", [math.nan, math.inf, None])
def test_what_is_no_number_is_shown_as_broken(value: float | None) -> None:
    plot = draw_errors(layers(value, 1e-7))
    assert plot.onnx[0].broken
    assert plot.onnx[0].y == plot.top
    assert not plot.onnx[1].broken


def test_what_is_allowed_is_drawn() -> None:
    parity = [{"output": "logits", "kind": "noise", "bound": 4e-6, "scale": 4.0}]
    plot = draw_errors(layers(1e-7), parity)
    assert plot.bound.text == "allowed for logits"
    assert plot.bound.at < plot.onnx[0].y
    assert draw_errors(layers(1e-7)).bound is None


def test_of_many_layers_some_are_named() -> None:
    assert len(draw_errors(layers(*[1e-7] * 200)).names) <= 24
    assert draw_errors([]) is None
