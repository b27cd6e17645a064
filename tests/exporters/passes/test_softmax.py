from collections.abc import Callable

import numpy as np
import pytest
import torch

from cnntk.exporters.passes import PASSES
from cnntk.exporters.passes._softmax import StableSoftmax
from cnntk.exporters.session import GraphSession

PLAIN = PASSES[:4]


def stable(x: torch.Tensor) -> torch.Tensor:
    shifted = torch.exp(x - x.max(1, keepdim=True).values)
    return shifted / shifted.sum(1, keepdim=True)


def logsumexp(x: torch.Tensor) -> torch.Tensor:
    maximum = x.amax(1, keepdim=True)
    return maximum + torch.log(torch.exp(x - maximum).sum(1, keepdim=True))


def log_of_shifted(x: torch.Tensor) -> torch.Tensor:
    shifted = x - x.amax(1, keepdim=True)
    return shifted - torch.log(torch.exp(shifted).sum(1, keepdim=True))


FORMS: dict[str, tuple[str, Callable[[torch.Tensor], torch.Tensor]]] = {
    "the book's": ("Softmax", lambda x: torch.exp(x) / torch.exp(x).sum(1, keepdim=True)),
    "the last axis": ("Softmax", lambda x: torch.exp(x) / torch.exp(x).sum(-1, keepdim=True)),
    "maximum off": ("Softmax", stable),
    "unsqueezed sum": ("Softmax", lambda x: torch.exp(x) / torch.exp(x).sum(1)[:, None]),
    "reshaped sum": ("Softmax", lambda x: torch.exp(x) / torch.exp(x).sum(1).reshape(-1, 1)),
    "reciprocal": ("Softmax", lambda x: torch.exp(x).sum(1, keepdim=True).reciprocal() * torch.exp(x)),
    "one over the sum": ("Softmax", lambda x: torch.exp(x) * (1 / torch.exp(x).sum(1, keepdim=True))),
    "exp of log": ("Softmax", lambda x: torch.exp(torch.log_softmax(x, 1))),
    "log of softmax": ("LogSoftmax", lambda x: torch.log(torch.softmax(x, 1))),
    "log of the book's": (
        "LogSoftmax",
        lambda x: torch.log(torch.exp(x) / torch.exp(x).sum(1, keepdim=True)),
    ),
    "minus logsumexp": ("LogSoftmax", lambda x: x - torch.logsumexp(x, 1, keepdim=True)),
    "minus log of sum": ("LogSoftmax", lambda x: x - torch.log(torch.exp(x).sum(1, keepdim=True))),
    "minus a stable logsumexp": ("LogSoftmax", lambda x: x - logsumexp(x)),
    "shifted, minus log of sum": ("LogSoftmax", log_of_shifted),
}


@pytest.mark.parametrize("index", range(len(FORMS)), ids=FORMS.keys())
def test_a_softmax_by_hand_becomes_one_node(index, member, apply, operators) -> None:
    operator = list(FORMS.values())[index][0]
    model = member((form for _, form in FORMS.values()), index)
    rewritten, record = apply(model, *PLAIN, StableSoftmax())
    assert record.status == "applied"
    assert operators(rewritten) == ["Gemm", operator]
    assert rewritten.graph.node(1).inputs[0].name == "linear"
    assert rewritten.graph.outputs[0].name == model.graph.outputs[0].name
    assert rewritten.graph.node(1).metadata_props["pkg.torch.onnx.name_scopes"]


def test_it_does_not_overflow_any_more(function, apply) -> None:
    model = function(FORMS["the book's"][1])
    rewritten, _ = apply(model, *PLAIN, StableSoftmax())
    far = {"input": np.full((1, 6), 1e4, np.float32) * np.array([1, -1, 1, -1, 1, -1], np.float32)}
    assert np.isnan(GraphSession(model).run(far)["output"]).any()
    answer = GraphSession(rewritten).run(far)["output"]
    assert np.isfinite(answer).all()
    assert answer.sum() == pytest.approx(1, abs=1e-6)


def test_a_shift_that_is_no_maximum_stays(function, apply, operators) -> None:
    def form(x: torch.Tensor) -> torch.Tensor:
        shifted = torch.exp(x - x.mean(1, keepdim=True))
        return shifted / shifted.sum(1, keepdim=True)

    rewritten, _ = apply(function(form), *PLAIN, StableSoftmax())
    assert operators(rewritten)[-2:] == ["Sub", "Softmax"]


DECLINED = {
    "over another axis than it divides": lambda x: torch.exp(x) / torch.exp(x).sum(),
    "another numerator": lambda x: torch.exp(x) / torch.exp(2 * x).sum(1, keepdim=True),
    "a constant in the sum": lambda x: torch.exp(x) / (torch.exp(x).sum(1, keepdim=True) + 1e-3),
}


@pytest.mark.parametrize("index", range(len(DECLINED)), ids=DECLINED.keys())
def test_what_is_no_softmax_stays(index, member, apply) -> None:
    _, record = apply(member(DECLINED.values(), index), *PLAIN, StableSoftmax())
    assert record.status == "nothing to do"
    assert "not a known form of softmax" in record.rewrites.skipped[0]


def test_softmax_upon_softmax_is_not_rewritten(function, apply) -> None:
    _, record = apply(function(lambda x: torch.softmax(torch.softmax(x, 1), 1)), *PLAIN, StableSoftmax())
    assert record.status == "nothing to do"


def test_old_operator_sets_are_left(apply, written) -> None:
    model = written("g (float[N,4] x) => (float[N,4] y) { s = Softmax<axis = 1>(x)  y = Log(s) }")
    model.graph.opset_imports[""] = 11
    assert apply(model, StableSoftmax())[1].status == "nothing to do"
