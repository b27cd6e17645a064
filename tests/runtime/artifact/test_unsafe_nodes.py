"""Graphs at which onnxruntime would end this process."""

import numpy as np
import onnx.parser
import pytest

from cnntk.runtime import ArtifactCorrupt, Engine

HEAD = '<ir_version: 10, opset_import: ["": 18]> g (float[N, 4] x) => (y) '


def model(body: str) -> bytes:
    return onnx.parser.parse_model(HEAD + body).SerializeToString()


@pytest.mark.parametrize(
    "body",
    [
        "{ y, z = Split <axis = 1, num_outputs = 1> (x) }",
        """<bool c = {1}> { y = If (c) <
        then_branch = t () => (a) { a, b = Split <axis = 1, num_outputs = 1> (x) },
        else_branch = e () => (d) { d = Neg (x) }> }""",
    ],
    ids=["graph", "branch"],
)
def test_more_outputs_than_stated(body: str) -> None:
    with pytest.raises(ArtifactCorrupt, match="a Split has 2 outputs, but states 1"):
        Engine(model(body))


@pytest.mark.parametrize(
    "body",
    ["{ y, z = Split <axis = 1, num_outputs = 2> (x) }", "{ num_outputs = Neg (x) y = Neg (num_outputs) }"],
)
def test_others_load(body: str) -> None:
    assert Engine(model(body)).outputs[0].name == "y"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            '<float[4] s = {1, 1, 1, 1}> { y = LayerNormalization (x, s, "") }',
            "input 3 of 3 of the LayerNormalization has an empty name",
        ),
        ('{ y = Einsum <equation = "nc,nc->n"> (x, "") }', "input 2 of 2 of the Einsum"),
        ('{ y = Sum (x, "", x) }', "input 2 of 3 of the Sum"),
        ('{ [sum] y = Sum (x, "") }', "its node 'sum': input 2 of 2 of the Sum"),
        ('{ y = ai.onnx.Max (x, "") }', "input 2 of 2 of the Max"),
        ('{ y = Min (x, "") }', "input 2 of 2 of the Min"),
        ('{ y = Mean (x, "") }', "input 2 of 2 of the Mean"),
        (
            """<bool c = {1}> { y = If (c) <
            then_branch = t () => (a) { a = Sum (x, "") },
            else_branch = e () => (d) { d = Neg (x) }> }""",
            "input 2 of 2 of the Sum",
        ),
    ],
)
def test_inputs_without_a_name(body: str, message: str) -> None:
    with pytest.raises(ArtifactCorrupt, match=message):
        Engine(model(body))


def test_inputs_without_a_name_in_a_function() -> None:
    text = """<ir_version: 10, opset_import: ["": 18, "own": 1]> g (float[N, 4] x) => (y) { y = own.F (x) }
    <domain: "own", opset_import: ["": 18]> F (a) => (b) { b = Sum (a, "") }"""
    with pytest.raises(ArtifactCorrupt, match="input 2 of 2 of the Sum"):
        Engine(onnx.parser.parse_model(text).SerializeToString())


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{ y = Clip (x, "", "") }', [[1, 2, 3, 6]]),
        ("<float[4] s = {2, 2, 2, 2}> { y = LayerNormalization (x, s) }", [[-2.1381, -1.069, 0, 3.2071]]),
        (
            "<float[4] s = {1, 1, 1, 1}, float[4] b = {3, 3, 3, 3}> { y = LayerNormalization (x, s, b) }",
            [[1.9310, 2.4655, 3, 4.6036]],
        ),
        ('{ y = Einsum <equation = "nc,nc->n"> (x, x) }', [50]),
        ("{ y = Sum (x, x) }", [[2, 4, 6, 12]]),
        ("<float[4] t = {2, 2, 2, 2}> { y = Max (x, t) }", [[2, 2, 3, 6]]),
    ],
)
def test_inputs_with_names_and_optional_ones_without(body: str, expected: list[float]) -> None:
    outputs = Engine(model(body)).run({"x": np.array([[1, 2, 3, 6]], np.float32)})
    np.testing.assert_allclose(outputs["y"], expected, atol=1e-3)
