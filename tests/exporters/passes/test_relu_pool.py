import pytest

from cnntk.exporters.passes._relu_pool import ReluAfterPool

HEAD = "g (float[N,3,6,6] x) => (float[N,3,h,v] y)"


@pytest.mark.parametrize(
    "pads", ["", ", pads = [1, 1, 1, 1]", ", ceil_mode = 1"], ids=["plain", "padded", "ceil"]
)
def test_relu_moves_behind_the_pool(pads, written, apply, operators) -> None:
    body = f"{{ r = Relu(x)  y = MaxPool<kernel_shape = [3, 3], strides = [2, 2]{pads}>(r) }}"
    rewritten, record = apply(written(f"{HEAD} {body}"), ReluAfterPool())
    assert operators(rewritten) == ["MaxPool", "Relu"]
    assert record.max_rel_diff == 0
    assert rewritten.graph.outputs[0].name == "y"


DECLINED = {
    "used elsewhere": (
        "m = MaxPool<kernel_shape = [1, 1], strides = [2, 2]>(r)  s = ReduceMax(r)  y = Add(m, s)",
        "used elsewhere",
    ),
    "no smaller": ("y = MaxPool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(r)", "no smaller"),
    "indices": ("y, i = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(r)", "indices are used"),
}


@pytest.mark.parametrize(("body", "reason"), DECLINED.values(), ids=DECLINED.keys())
def test_where_it_stays(body, reason, written, apply) -> None:
    _, record = apply(written(f"{HEAD} {{ r = Relu(x)  {body} }}"), ReluAfterPool())
    assert record.status == "nothing to do"
    assert reason in record.rewrites.skipped[0]


def test_average_pools_are_left(written, apply) -> None:
    body = "{ r = Relu(x)  y = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(r) }"
    assert apply(written(f"{HEAD} {body}"), ReluAfterPool())[1].status == "nothing to do"
