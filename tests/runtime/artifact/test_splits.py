"""A graph at which onnxruntime would end this process."""

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
