import numpy as np
import onnx_ir as ir
import pytest

from cnntk.exporters._head import HeadRecord, add_head, double_softmax, network_output
from cnntk.exporters.session import GraphSession
from cnntk.runtime.errors import ExportCheckError, UsageError

X = np.array([[1e4, -1e4, 0], [1, 2, 3]], np.float32)


def graph(body: str, result: str = "float[N,3] y", entry: str = "float[N,3] x") -> ir.Model:
    return ir.from_onnx_text(
        f'<ir_version: 10, opset_import: ["" : 18]> g ({entry}) => ({result}) {{ {body} }}'
    )


def names(model: ir.Model) -> list[str | None]:
    return [v.name for v in model.graph.outputs]


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x.astype(np.float64) - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


ENDINGS = {
    "plain logits": "y = Identity(x)",
    "Softmax": "y = Softmax(x)",
    "Softmax and a copy": "s = Softmax<axis = 1>(x)  y = Identity(s)",
    "LogSoftmax": "y = LogSoftmax(x)",
}


@pytest.mark.parametrize("body", ENDINGS.values(), ids=ENDINGS.keys())
def test_a_classifier_answers_logits_and_probabilities(body) -> None:
    model = graph(body)
    record = add_head(model, "auto", None)
    assert record.kind == "classifier"
    assert names(model) == ["logits", "probabilities"]
    answer = GraphSession(model).run({"x": X})
    np.testing.assert_array_equal(answer["logits"], X)
    np.testing.assert_allclose(answer["probabilities"], softmax(X), atol=1e-6)


def test_the_record_says_why() -> None:
    assert add_head(graph("y = Relu(x)"), "auto", None) == HeadRecord(
        "classifier", "one output of shape Nx3; the network ends in plain logits"
    )


@pytest.mark.parametrize("kind", ["float16", "double"])
@pytest.mark.parametrize("operator", ["Relu", "Softmax", "LogSoftmax"])
def test_the_head_is_in_float32(kind, operator) -> None:
    model = graph(f"y = {operator}(x)", f"{kind}[N,3] y", f"{kind}[N,3] x")
    add_head(model, "auto", None)
    x = np.abs(X).astype(np.float16 if kind == "float16" else np.float64)
    answer = GraphSession(model).run({"x": x})
    assert {v.dtype for v in answer.values()} == {np.dtype(np.float32)}
    np.testing.assert_allclose(answer["probabilities"], softmax(x.astype(np.float32)), atol=1e-6)


NONE = {
    "two outputs": ("y = Relu(x)  z = Neg(x)", "float[N,3] y, float[N,3] z", "it has 2 outputs"),
    "one number": ("y = ReduceSum(x)", "float[N,1] y", "like a regression"),
    "images": ("y = Relu(x)", "float[N,3,4,4] y", "shape Nx3x4x4"),
    "pixels of one": ("y = Relu(x)", "float[N,3,1,1] y", "--head classifier flattens it"),
    "sigmoid": ("y = Sigmoid(x)", "float[N,3] y", "several labels may apply at once"),
    "whole numbers": ("y = Cast<to = 7>(x)", "int64[N,3] y", "is int64, not floats"),
}


@pytest.mark.parametrize(("body", "result", "reason"), NONE.values(), ids=NONE.keys())
def test_what_is_no_classifier(body, result, reason) -> None:
    model = graph(body, result)
    record = add_head(model, "auto", None)
    assert record.kind == "none"
    assert reason in record.reason
    assert names(model)[0] == "y"


@pytest.mark.parametrize("key", ["one number", "images", "sigmoid", "whole numbers"])
def test_what_can_be_no_classifier_is_refused_with_head_classifier(key) -> None:
    body, result, _ = NONE[key]
    with pytest.raises(UsageError, match="--head classifier: expected an output"):
        add_head(graph(body, result), "classifier", None)


def test_what_the_source_and_the_user_say_counts() -> None:
    assert add_head(graph("y = Relu(x)"), "auto", False) == HeadRecord(
        "none", "no classifier according to the source"
    )
    assert add_head(graph("y = Relu(x)"), "none", True) == HeadRecord("none", "no head: --head none")
    assert add_head(graph("y = Relu(x)"), "auto", True).reason.startswith("according to the source")
    assert add_head(graph("y = Relu(x)"), "classifier", None).reason.startswith("--head classifier")


def test_of_several_outputs_the_one_named_logits_is_used() -> None:
    model = graph("y = Neg(x)  logits = Relu(x)", "float[N,3] y, float[N,3] logits")
    add_head(model, "auto", True)
    assert names(model) == ["logits", "probabilities", "y"]
    np.testing.assert_array_equal(GraphSession(model).run({"x": X})["logits"], np.maximum(X, 0))


def test_other_values_with_these_names_are_renamed() -> None:
    model = graph("logits = Relu(x)  probabilities = Exp(logits)  y = Neg(probabilities)")
    add_head(model, "auto", None)
    assert names(model) == ["logits", "probabilities"]
    every = [v.name for n in model.graph for v in n.outputs]
    assert len(every) == len(set(every))
    GraphSession(model).run({"x": X})


def test_maps_of_one_pixel_are_flattened_with_head_classifier() -> None:
    model = graph("y = Relu(x)", "float[N,3,1,1] y", "float[N,3,1,1] x")
    add_head(model, "classifier", None)
    assert GraphSession(model).run({"x": X[:, :, None, None]})["logits"].shape == (2, 3)


DOUBLE = {
    "softmax": "s = Softmax(x)  y = Softmax(s)",
    "log-softmax": "s = Softmax(x)  y = LogSoftmax(s)",
    "with a copy between": "s = Softmax(x)  i = Identity(s)  y = Softmax(i)",
}


@pytest.mark.parametrize("body", DOUBLE.values(), ids=DOUBLE.keys())
def test_softmax_upon_softmax_is_refused_unless_allowed(body) -> None:
    with pytest.raises(ExportCheckError, match="of the Softmax s"):
        add_head(graph(body), "auto", None)
    assert add_head(graph(body), "auto", None, allow_double_softmax=True).kind == "classifier"


@pytest.mark.parametrize("between", ["Relu", "LogSoftmax", "Exp"])
def test_what_only_looks_like_two_softmaxes_passes(between) -> None:
    first = "LogSoftmax" if between != "Relu" else "Softmax"
    assert double_softmax(graph(f"a = {first}(x)  b = {between}(a)  y = Softmax(b)")) is None


def test_softmax_over_the_batch_is_refused() -> None:
    with pytest.raises(ExportCheckError, match="over axis 0, the batch"):
        add_head(graph("y = Softmax<axis = 0>(x)"), "auto", None)


BODIES = {
    "plain": ("y = Relu(x)", "float[N,3] x", "float[N,3] y", "logits"),
    "half": ("y = Relu(x)", "float16[N,3] x", "float16[N,3] y", "y"),
    "pixels": ("y = Relu(x)", "float[N,3,1,1] x", "float[N,3,1,1] y", "y"),
    "half pixels": ("y = Relu(x)", "double[N,3,1,1] x", "double[N,3,1,1] y", "y"),
    "a cast of the network's own": (
        "h = Relu(x) y = Cast<to = 1>(h)",
        "double[N,3] x",
        "float[N,3] y",
        "logits",
    ),
}


@pytest.mark.parametrize(("body", "entry", "result", "name"), BODIES.values(), ids=BODIES.keys())
def test_the_value_of_the_network_behind_an_output(body: str, entry: str, result: str, name: str) -> None:
    model = graph(body, result, entry)
    add_head(model, "classifier", None)
    logits, probabilities = model.graph.outputs
    assert network_output(logits).name == name
    assert network_output(probabilities) is probabilities
