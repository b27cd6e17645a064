from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch.nn import functional as F

from cnntk.exporters.passes._dropout import RemoveDropout
from cnntk.exporters.passes.graph import random_nodes
from cnntk.exporters.session import GraphSession

P = 0.25

FORMS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "the book's": lambda x: (torch.rand(x.shape) > P).float() * x / (1.0 - P),
    "times the mask, then 1/(1-p)": lambda x: x * (torch.rand_like(x) < 1 - P).to(x.dtype) * (1 / (1 - P)),
    "not above p": lambda x: x * (~(torch.rand_like(x) <= P)) / (1 - P),
    "scaled before": lambda x: x / (1 - P) * (torch.rand_like(x) >= P),
    "scaled mask": lambda x: x * ((torch.rand_like(x) > P).float() / (1 - P)),
    "bernoulli of full": lambda x: x * torch.bernoulli(torch.full_like(x, 1 - P)) / (1 - P),
    "bernoulli_ in place": lambda x: x * torch.empty_like(x).bernoulli_(1 - P).div_(1 - P),
    "where": lambda x: torch.where(torch.rand_like(x) > P, x / (1 - P), 0.0),
    "masked_fill": lambda x: (x / (1 - P)).masked_fill(torch.rand_like(x) < P, 0.0),
    "stochastic depth": lambda x: x.div(1 - P) * (1 - P + torch.rand(x.shape[0], 1)).floor(),
    "F.dropout": lambda x: F.dropout(x, P),
    "twice": lambda x: F.dropout(torch.relu(F.dropout(x, P)), 0.5),
    "F.dropout2d": lambda x: F.dropout2d(x[:, :, None, None], P).flatten(1),
}


@pytest.mark.parametrize("index", range(len(FORMS)), ids=FORMS.keys())
def test_a_dropout_goes_and_its_input_stands_for_it(index, member, apply) -> None:
    model = member(FORMS.values(), index)
    assert random_nodes(model)
    rewritten, record = apply(model, RemoveDropout(), exact=False)
    assert (record.status, record.rollback_reason) == ("applied", None)
    assert random_nodes(rewritten) == []
    assert [v.name for v in rewritten.graph.outputs] == ["output"]
    assert record.rewrites.substitutions
    assert record.rewrites.skipped == ()


def test_the_record_names_what_stands_for_what(function, apply) -> None:
    _, record = apply(function(lambda x: torch.relu(F.dropout(x, P))), RemoveDropout(), exact=False)
    assert record.rewrites.substitutions == {"getitem": "linear"}
    assert "TRAINING mode" in record.rewrites.applied[0]


def test_a_node_in_inference_mode_is_removed_quietly(written, apply, operators) -> None:
    model = written("g (float[N,4] x) => (float[N,4] y) { r = Relu(x)  d = Dropout(r)  y = Neg(d) }")
    rewritten, record = apply(model, RemoveDropout())
    assert operators(rewritten) == ["Relu", "Neg"]
    assert record.rewrites.applied == ("Dropout d: removed",)


def test_a_node_whose_mask_is_read_stays(written, apply) -> None:
    model = written("g (float[N,4] x) => (float[N,4] y, bool[N,4] m) { y, m = Dropout(x) }")
    _, record = apply(model, RemoveDropout())
    assert record.rewrites.skipped == ("Dropout y: its mask is used elsewhere",)


SKIPPED = {
    "no scale": (lambda x: x * (torch.rand_like(x) > P), "is not scaled by 1 / 0.75: its mean is 0.75 times"),
    "scale of another p": (lambda x: x * (torch.rand_like(x) > P) / 0.5, "has another scale"),
    "kept where it should drop": (
        lambda x: x * (torch.rand_like(x) < P) / (1 - P),
        "keep probability 0.25 and has another scale",
    ),
    "alpha dropout": (
        lambda x: F.alpha_dropout(x, P, training=True),
        "has another scale: its mean is 0.6504",
    ),
    "noise": (lambda x: x + torch.randn_like(x), "random, and not a known form of dropout"),
    "uniform noise times x": (lambda x: x * torch.rand_like(x), "random, and not a known form of dropout"),
}


@pytest.mark.parametrize("index", range(len(SKIPPED)), ids=SKIPPED.keys())
def test_what_is_no_dropout_stays_and_is_named(index, member, apply) -> None:
    reason = list(SKIPPED.values())[index][1]
    model = member((form for form, _ in SKIPPED.values()), index)
    rewritten, record = apply(model, RemoveDropout(), exact=False)
    assert record.status == "nothing to do"
    assert len(random_nodes(rewritten)) == 1
    assert reason in record.rewrites.skipped[0]


def test_a_mask_applied_to_its_product_is_skipped(function, apply) -> None:
    def twice(x: torch.Tensor) -> torch.Tensor:
        mask = (torch.rand_like(x) > P).float() / (1 - P)
        return torch.relu(x * mask) * mask

    _, record = apply(function(twice), RemoveDropout(), exact=False)
    assert record.status == "applied"
    assert "depends on the same random numbers" in record.rewrites.skipped[0]


def test_notes_of_other_nodes_survive(function, apply) -> None:
    rewritten, _ = apply(function(FORMS["the book's"]), RemoveDropout(), exact=False)
    gemm = rewritten.graph.node(0)
    assert gemm.metadata_props["pkg.torch.onnx.name_scopes"]


def test_a_fixed_answer_of_a_small_graph(function, apply) -> None:
    model: ir.Model = function(FORMS["where"])
    rewritten, _ = apply(model, RemoveDropout(), exact=False)
    x = np.ones((2, 6), np.float32)
    linear = GraphSession(model, ["linear"]).run({"input": x})["linear"]
    np.testing.assert_array_equal(GraphSession(rewritten).run({"input": x})["output"], linear)
