import numpy as np
import pytest

from cnntk.exporters.passes._padding import FoldPadding

PADS = np.array([0, 0, 1, 0, 0, 0, 2, 1], np.int64)
W = np.random.default_rng(0).standard_normal((2, 3, 3, 3)).astype(np.float32)
HEAD = "g (float[N,3,6,6] x) => (float[N,c,h,v] y)"


def graph(written, body: str, **more: np.ndarray):
    held = {"p": PADS, "w": W, **more}
    return written(f"{HEAD} {{ {body} }}", **{k: v for k, v in held.items() if f" {k}" in body})


FOLDED = {
    "conv": ("q = Pad(x, p)  y = Conv<pads = [1, 0, 1, 0]>(q, w)", [2, 0, 3, 1]),
    "average": ("q = Pad(x, p)  y = AveragePool<kernel_shape = [3, 3]>(q)", [1, 0, 2, 1]),
}


@pytest.mark.parametrize(("body", "pads"), FOLDED.values(), ids=FOLDED.keys())
def test_paddings_add_up(body, pads, written, apply) -> None:
    rewritten, record = apply(graph(written, body), FoldPadding())
    assert record.status == "applied"
    (node,) = rewritten.graph
    assert list(node.attributes["pads"].value) == pads


SKIPPED = {
    "max pool": ("q = Pad(x, p)  y = MaxPool<kernel_shape = [2, 2]>(q)", "minus infinity"),
    "reflect": ('q = Pad<mode = "reflect">(x, p)  y = Conv(q, w)', "pads with reflect"),
    "another number": ("q = Pad(x, p, one)  y = Conv(q, w)", "another number than 0"),
    "negative": ("q = Pad(x, n)  y = Conv(q, w)", "it crops"),
    "channels": (
        "q = Pad(x, c)  y = AveragePool<kernel_shape = [2, 2]>(q)",
        "pads the batch or channel axis",
    ),
    "its zeros not counted": (
        "q = Pad(x, p)  y = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(q)",
        "counts the zeros of the Pad but not its own",
    ),
    "wide": ("q = Pad(x, p)  y = AveragePool<kernel_shape = [2, 2]>(q)", "as wide as the window"),
}


@pytest.mark.parametrize(("body", "reason"), SKIPPED.values(), ids=SKIPPED.keys())
def test_other_paddings_stay(body, reason, written, apply) -> None:
    more = {
        "one": np.array(1, np.float32),
        "n": np.array([0, 0, -1, 0, 0, 0, 0, 0], np.int64),
        "c": np.array([0, 1, 0, 0, 0, 0, 0, 0], np.int64),
    }
    _, record = apply(graph(written, body, **more), FoldPadding())
    assert record.status == "nothing to do"
    assert reason in record.rewrites.skipped[0]
