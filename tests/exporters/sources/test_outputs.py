from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from cnntk.exporters.capture import capture
from cnntk.exporters.options import ExportOptions
from cnntk.exporters.sources import open_source
from cnntk.exporters.sources.outputs import name_outputs, named_tensors
from cnntk.runtime.errors import CaptureError

A, B, C = (torch.full((1,), float(i)) for i in range(3))


@dataclass
class Answer:
    logits: torch.Tensor
    hidden: Any = None
    loss: float = 0.5


Pair = namedtuple("Pair", ["scores", "boxes"])

FORMS = [
    ("tensor", A, {"output": A}),
    ("tuple", (A, B), {"output": A, "output_1": B}),
    ("list of tuples", [A, (B, C)], {"output": A, "output_1": B, "output_2": C}),
    ("dict", {"x": A, "y": B}, {"x": A, "y": B}),
    ("ordered dict", OrderedDict(b=A, a=B), {"b": A, "a": B}),
    ("nested", {"x": {"y": A, "z": (B, C)}}, {"x_y": A, "x_z": B, "x_z_1": C}),
    ("dataclass", Answer(A), {"logits": A}),
    ("dataclass with more", Answer(A, (B, C)), {"logits": A, "hidden": B, "hidden_1": C}),
    ("named tuple", Pair(A, B), {"scores": A, "boxes": B}),
    ("object with logits", SimpleNamespace(logits=A, other=B), {"logits": A}),
    ("dicts in a tuple", ({"x": A}, {"x": B}), {"x": A, "x_1": B}),
    ("names that are taken", {"x_1": A, "x": (B, C)}, {"x_1": A, "x": B, "x_2": C}),
    ("odd keys", {"best-of": A, 0: B, "": C}, {"best_of": A, "_0": B, "output": C}),
    ("no tensors among", (A, None, True, 3, 0.5, "text"), {"output": A}),
]


@pytest.mark.parametrize(("answer", "expected"), [f[1:] for f in FORMS], ids=[f[0] for f in FORMS])
def test_forms_of_answers(answer: Any, expected: dict[str, torch.Tensor]) -> None:
    named = named_tensors(answer)
    assert list(named) == list(expected)
    assert all(named[name] is tensor for name, tensor in expected.items())


@pytest.mark.parametrize(
    ("answer", "words"), [({"a": {1, 2}}, "returns set as 'a'"), (object(), "returns object")]
)
def test_other_things_are_refused(answer: Any, words: str) -> None:
    with pytest.raises(CaptureError, match=f"the network {words}; expected tensors"):
        named_tensors(answer)


class Returning(nn.Module):
    def __init__(self, form: Any) -> None:
        super().__init__()
        self.form, self.fc = form, nn.Linear(4, 3)

    def forward(self, input: torch.Tensor) -> Any:
        return self.form(self.fc(input))


CAPTURED = [
    ("tuple", lambda y: (y, y + 1), ["output", "output_1"]),
    ("dict", lambda y: {"b": y, "a": y + 1, "n": None}, ["b", "a"]),
    ("dataclass", lambda y: Answer(y), ["logits"]),
    ("named tuple", lambda y: Pair(y, y * 2), ["scores", "boxes"]),
    ("a size", lambda y: (y, y.shape[0]), ["output"]),
]


@pytest.mark.parametrize(("form", "names"), [c[1:] for c in CAPTURED], ids=[c[0] for c in CAPTURED])
def test_the_names_are_those_of_the_graph(form: Any, names: list[str]) -> None:
    source = open_source(Returning(form), ExportOptions(input_shape={"input": (4,)}))
    assert list(source.module(torch.zeros(2, 4))) == names
    assert [v.name for v in capture(source).model.graph.outputs] == names


def test_an_answer_without_tensors_is_refused() -> None:
    source = open_source(Returning(lambda y: None), ExportOptions(input_shape={"input": (4,)}))
    with pytest.raises(CaptureError, match="Returning returns NoneType without a tensor; return a tensor"):
        capture(source)


def test_one_output_can_be_picked_whatever_the_others_are() -> None:
    module = name_outputs(Returning(lambda y: Answer(y, object())), only="logits")
    assert list(module(torch.zeros(1, 4))) == ["logits"]


def test_one_output_can_be_picked() -> None:
    module = name_outputs(Returning(lambda y: Answer(y, y)), only="logits")
    assert list(module(torch.zeros(1, 4))) == ["logits"]
    module = name_outputs(Returning(lambda y: (y, y)), only="logits")
    assert list(module(torch.zeros(1, 4))) == ["output", "output_1"]
