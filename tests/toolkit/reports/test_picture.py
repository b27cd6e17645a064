from typing import Any

import pytest

from cnntk.reports.picture import LARGEST, draw_network


def layer(name: str, op: str, output: str, *inputs: str, multiply_adds: int = 0) -> dict[str, Any]:
    return {
        "name": name,
        "op": op,
        "shape": ["N", 8],
        "output": output,
        "inputs": list(inputs),
        "parameters": 1500 if multiply_adds else 0,
        "multiply_adds": multiply_adds,
    }


def chain(count: int, name: str = "block{}.conv") -> list[dict[str, Any]]:
    """Two layers a block."""
    pairs = [
        (
            layer(name.format(i), "Conv", f"c{i}", f"r{i - 1}", multiply_adds=9),
            layer(f"node_relu_{i}", "Relu", f"r{i}", f"c{i}"),
        )
        for i in range(count // 2)
    ]
    return [x for pair in pairs for x in pair]


def test_a_box_a_layer_and_an_arc_a_skip() -> None:
    layers = [
        layer("stem", "Conv", "a", "input", multiply_adds=300),
        layer("body", "Conv", "b", "a", multiply_adds=100),
        layer("act", "Relu", "c", "b"),
        layer("sum", "Add", "d", "c", "a"),
    ]
    picture = draw_network(layers)
    first = picture.boxes[0]
    assert (first.title, first.name, first.shape) == ("Conv", "stem", "N×8")
    assert [b.share for b in picture.boxes] == [0.75, 0.25, 0, 0]
    assert [b.joined for b in picture.boxes] == [False, True, True, True]
    assert [arc.hint for arc in picture.arcs] == ["stem to sum"]
    assert picture.folded == 0


def test_boxes_that_do_not_follow_each_other_are_not_joined() -> None:
    layers = [layer("a", "Conv", "a", "x"), layer("b", "Conv", "b", "x"), layer("c", "Add", "c", "a", "b")]
    assert [b.joined for b in draw_network(layers).boxes] == [False, False, True]


def test_skips_that_overlap_lie_in_lanes_of_their_own() -> None:
    layers = [layer(n, "Conv", n, *({"d": "ca", "e": "db"}.get(n, ""))) for n in "abcde"]
    first, second = draw_network(layers).arcs
    assert first.path.split(" V")[0].split()[-1] != second.path.split(" V")[0].split()[-1]
    assert draw_network(layers).width > draw_network(layers[:2]).width


@pytest.mark.parametrize("name", ["block{}.conv", "conv{}", "/block{}/conv/Conv", "features.{}"])
@pytest.mark.parametrize("count", [60, 200, 600])
def test_large_networks_are_folded(name: str, count: int) -> None:
    layers = chain(count, name)
    picture = draw_network(layers)
    assert 1 <= len(picture.boxes) <= LARGEST
    assert picture.folded == count
    assert sum(b.share for b in picture.boxes) == pytest.approx(1)


def test_what_follows_is_folded_before_what_works() -> None:
    picture = draw_network(chain(2 * LARGEST))
    assert len(picture.boxes) == LARGEST
    assert (picture.boxes[3].title, picture.boxes[3].name) == ("block3.conv", "Conv, Relu")


def test_layers_of_older_artifacts_are_a_plain_row() -> None:
    boxes = draw_network([{"name": str(i), "op": "Relu", "shape": ["N"]} for i in range(4)]).boxes
    assert [b.joined for b in boxes] == [False, True, True, True]
