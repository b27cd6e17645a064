import onnx.parser
import onnx_ir as ir
import pytest

from cnntk.exporters.shapes._shape_formulas import shape_formulas

GRAPH = """
<ir_version: 10, opset_import: ["" : 18]>
g (float[N, 3, 4, 4] x) => (float[M, K] y) <int64[1] zero = {0}, int64[1] two = {2}, int64[1] rest = {-1}>
{
    ARITHMETIC
    y = Reshape (x, target)
}
"""


@pytest.mark.parametrize(
    ("arithmetic", "shape"),
    [
        ("s = Shape (x) n = Gather (s, zero) target = Concat <axis = 0> (n, rest)", ("N", 48)),
        ("n = Shape <start = 0, end = 1> (x) target = Concat <axis = 0> (n, two, rest)", ("N", 2, 24)),
        ("n = Shape <end = 1> (x) m = Mul (n, two) target = Concat <axis = 0> (m, rest)", ("2*N", 24)),
        ("s = Shape (x) h = Slice (s, zero, two) target = Concat <axis = 0> (h, rest)", ("N", 3, 16)),
        ("s = Shape (x) h = Slice <axes = [0], starts = [0], ends = [2]> (s) "
         "target = Concat <axis = 0> (h, rest)", ("N", 3, 16)),
        ("n = Shape <end = 1> (x) i = Squeeze (n) u = Unsqueeze (i, zero) c = Cast <to = 7> (u)"
         "target = Concat <axis = 0> (c, rest)", ("N", 48)),
        ("target = Constant <value_ints = [0, -1]> ()", ("N", 48)),
    ],
)  # fmt: skip
def test_the_target_of_a_reshape(arithmetic: str, shape: tuple[object, ...]) -> None:
    model = ir.from_proto(onnx.parser.parse_model(GRAPH.replace("ARITHMETIC", arithmetic)))
    assert shape_formulas(model)[-1].shape == shape


def test_numbers_that_depend_on_data_are_unknown() -> None:
    text = "g (float[N, 4] x, int64[2] t) => (float[M, K] y) { y = Reshape (x, t) }"
    model = ir.from_proto(onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 18]>\n{text}'))
    (form,) = shape_formulas(model)
    assert (form.shape, form.text) == (None, "the target shape is not known")
