import numpy as np
import pytest

from cnntk.runtime.output_values import describe_output, is_softmax_of

RNG = np.random.default_rng(0)
SCALES = np.array([1, 1e4, 1, 1, 1e-39, 1, 1, 1])[:, None]
LOGITS = (RNG.standard_normal((8, 5)) * SCALES).astype(np.float32)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x.astype(np.float64) - x.max(1, keepdims=True))
    return (e / e.sum(1, keepdims=True)).astype(np.float32)


P = softmax(LOGITS)
CORNERS = np.concatenate(
    [np.abs(LOGITS[:, :2]), np.abs(LOGITS[:, :2]) + np.abs(LOGITS[:, 2:4]) + 1e-3], axis=1
)
KINDS = {
    "softmax": (P, "distribution"),
    "average of two": ((P + P[::-1]) / 2, "distribution"),
    "in half precision": (P.astype(np.float16), "distribution"),
    "on one pixel": (P[:, :, None, None], "distribution"),
    "one-hot": (np.eye(5, dtype=np.float32)[[0, 1, 2, 3, 4, 0, 1, 2]], "distribution"),
    "log-softmax": (np.log(np.maximum(P, 1e-30)), "log distribution"),
    "embedding": (LOGITS / np.linalg.norm(LOGITS.astype(np.float64), axis=1, keepdims=True), "unit vector"),
    "sigmoid": (1 / (1 + np.exp(-np.clip(LOGITS, -50, 50))), "fractions"),
    "log-sigmoid": (-np.log1p(np.exp(-np.clip(LOGITS, -50, 50))), "numbers"),
    "average of log-softmaxes": ((np.log(P + 1e-30) + np.log(P[::-1] + 1e-30)) / 2, "numbers"),
    "clipped probabilities": (P.clip(1e-3, 0.999), "distribution"),
    "below one half": (P * 0.45, "numbers"),
    "scaled probabilities": (P * 0.85, "fractions"),
    "clipped, not renormalized": (P.clip(0.1, 1), "fractions"),
    "boxes": (CORNERS, "box"),
    "logits": (LOGITS, "numbers"),
    "four logits": (LOGITS[:, :4], "numbers"),
    "non-negative logits": (np.maximum(LOGITS, 0), "numbers"),
    "an untrained network's zeros": (np.zeros((8, 5), np.float32), "numbers"),
    "probabilities but for one row": (np.where(np.arange(8)[:, None] == 7, P * 1.1, P), "fractions"),
    "too few rows": (P[:3], "numbers"),
    "one number": (P[:, :1], "numbers"),
}


@pytest.mark.parametrize(("values", "kind"), KINDS.values(), ids=KINDS.keys())
def test_values_show_what_an_output_is(values: np.ndarray, kind: str) -> None:
    assert describe_output(values).kind == kind


def test_the_figures_are_reported() -> None:
    assert describe_output(P).text.endswith("on 8 inputs")
    assert "sum 1 within" in describe_output(P).text


def test_rows_that_are_not_finite_are_left_out_and_reported() -> None:
    evidence = describe_output(np.where(np.arange(8)[:, None] == 1, np.nan, P))
    assert (evidence.kind, evidence.finite) == ("distribution", False)
    assert "on 7 inputs" in evidence.text
    assert describe_output(np.full((8, 5), np.nan)).kind == "numbers"


def test_softmax_of_logits() -> None:
    assert is_softmax_of(P, LOGITS)
    assert not is_softmax_of(softmax(LOGITS / 2), LOGITS)
    assert not is_softmax_of(P[:, :4], LOGITS)
