import numpy as np
import onnx_ir as ir
import pytest

from cnntk.exporters._head import HeadRecord, add_head, double_softmax, network_output, output_values
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
        "classifier", "one output of shape Nx3; the network ends in plain logits", "", True
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


TRIALS = {"x": (np.random.default_rng(0).standard_normal((8, 3)) * 20).astype(np.float32)}


def with_values(model: ir.Model, option: str = "auto", **options: object) -> HeadRecord:
    return add_head(model, option, None, values=output_values(model, TRIALS), **options)


DISTRIBUTIONS = {
    "average": "a = Softmax(x)  b = Neg(x)  c = Softmax(b)  d = Add(a, c)  "
    "two = Constant<value_float = 2.0>()  y = Div(d, two)",
    "renormalized": "a = Softmax(x)  b = ReduceSum<keepdims = 1>(a, axis)  y = Div(a, b)",
    "Dirichlet": "a = Softplus(x)  b = ReduceSum<keepdims = 1>(a, axis)  y = Div(a, b)",
}


@pytest.mark.parametrize("body", DISTRIBUTIONS.values(), ids=DISTRIBUTIONS.keys())
def test_a_distribution_gets_no_second_softmax(body: str) -> None:
    model = graph(f"axis = Constant<value_ints = [1]>()  {body}")
    before = GraphSession(model).run(TRIALS)["y"]
    record = with_values(model)
    assert record.kind == "classifier"
    assert not record.softmax_of_logits
    assert "is a distribution" in record.reason
    assert "sum 1 within" in record.reason
    after = GraphSession(model).run(TRIALS)
    np.testing.assert_array_equal(after["probabilities"], before)
    assert np.isfinite(after["logits"]).all()
    np.testing.assert_allclose(softmax(after["logits"]), before, atol=1e-6)


def test_the_logits_of_a_flattened_softmax_are_its_input() -> None:
    model = graph("s = Softmax<axis = 1>(x)  y = Flatten(s)", entry="float[N,3,1,1] x")
    for node in model.graph:
        node.outputs[0].shape = ir.Shape(["N", 3, 1, 1] if node.op_type == "Softmax" else ["N", 3])
    trials = {"x": TRIALS["x"][:, :, None, None]}
    record = add_head(model, "auto", None, values=output_values(model, trials))
    assert record.softmax_of_logits
    after = GraphSession(model).run(trials)
    np.testing.assert_array_equal(after["logits"], TRIALS["x"])
    np.testing.assert_allclose(after["probabilities"], softmax(TRIALS["x"]), atol=1e-6)


OTHERS = {
    "embedding": ("y = LpNormalization<axis = 1, p = 2>(x)", "an embedding"),
    "clipped": ("s = Softmax(x)  y = Clip(s, low)", "--head classifier takes it as logits"),
    "boxes by name": ("boxes = Neg(x)", "it is named boxes"),
}


@pytest.mark.parametrize(("body", "reason"), OTHERS.values(), ids=OTHERS.keys())
def test_other_outputs_are_no_classifiers_unless_asked(body: str, reason: str) -> None:
    name = "boxes" if "boxes" in body else "y"
    text = f"low = Constant<value_float = 0.2>()  {body}"
    record = with_values(graph(text, f"float[N,3] {name}"))
    assert (record.kind, reason in record.reason) == ("none", True)
    assert with_values(graph(text, f"float[N,3] {name}"), "classifier").kind == "classifier"


def test_a_softmax_of_a_distribution_is_refused_by_its_values() -> None:
    body = f"axis = Constant<value_ints = [1]>()  {DISTRIBUTIONS['Dirichlet'].replace('y =', 'p =')}"
    with pytest.raises(ExportCheckError, match="Softmax of p, whose rows non-negative, sum 1 within"):
        with_values(graph(f"{body}  y = Softmax(p)"))
    assert with_values(graph(f"{body}  y = Softmax(p)"), allow_double_softmax=True).kind == "classifier"


def test_a_distribution_that_overflows_is_refused() -> None:
    body = "e = Exp(x)  i = Identity(e)  s = ReduceSum<keepdims = 1>(i, axis)  y = Div(e, s)"
    model = graph(f"axis = Constant<value_ints = [1]>()  {body}")
    trials = {"x": TRIALS["x"] * np.array([1, 100, 1, 1, 1, 1, 1, 1], np.float32)[:, None]}
    with pytest.raises(
        ExportCheckError, match=r"NaN or infinite on inputs of ±1e4: a softmax that overflows"
    ):
        add_head(model, "auto", None, values=output_values(model, trials))


BOTH = "float[N,3] probabilities, float[N,3] logits, float[N,3] features"


def test_logits_beside_other_outputs_are_a_classifier() -> None:
    model = graph("features = Neg(x)  logits = Relu(x)", "float[N,3] features, float[N,3] logits")
    assert with_values(model).kind == "classifier"
    assert names(model) == ["logits", "probabilities", "features"]


def test_a_label_beside_probabilities_is_of_a_classifier() -> None:
    model = graph("y = Softmax(x)  label = ArgMax<axis = 1, keepdims = 0>(y)", "float[N,3] y, int64[N] label")
    assert with_values(model).kind == "classifier"
    assert names(model) == ["logits", "probabilities", "label"]


def test_the_largest_values_are_no_logits() -> None:
    body = "k = Constant<value_ints = [3]>()  y, which = TopK(x, k)"
    model = graph(body, "float[N,3] y, int64[N,3] which")
    record = with_values(model)
    assert record.kind == "none"
    assert "columns are not always the same classes" in record.reason


def test_probabilities_that_are_the_softmax_are_computed_stably() -> None:
    body = "features = Neg(x)  logits = Identity(x)  i = Identity(logits)  probabilities = Softmax(i)"
    model = graph(body, BOTH)
    record = with_values(model)
    assert (record.kind, record.softmax, record.softmax_of_logits) == ("classifier", "Softmax", True)
    assert names(model) == ["logits", "probabilities", "features"]
    np.testing.assert_allclose(
        GraphSession(model).run(TRIALS)["probabilities"], softmax(TRIALS["x"]), atol=1e-6
    )


def test_other_probabilities_are_taken_as_they_are() -> None:
    half = "h = Constant<value_float = 0.5>()  c = Mul(x, h)"
    model = graph(f"{half}  features = Neg(x)  logits = Identity(x)  probabilities = Softmax(c)", BOTH)
    record = with_values(model)
    assert (record.kind, record.softmax_of_logits) == ("classifier", False)
    assert "not their softmax" in record.reason
    assert names(model) == ["logits", "probabilities", "features"]
    after = GraphSession(model).run(TRIALS)
    np.testing.assert_allclose(after["probabilities"], softmax(TRIALS["x"] / 2), atol=1e-6)
    np.testing.assert_array_equal(after["logits"], TRIALS["x"])


def test_independent_probabilities_are_taken_as_they_are() -> None:
    model = graph("features = Neg(x)  logits = Identity(x)  probabilities = Sigmoid(x)", BOTH)
    record = with_values(model)
    assert record.kind == "none"
    assert "no distribution over its logits" in record.reason
    assert names(model) == ["probabilities", "logits", "features"]
