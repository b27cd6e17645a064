import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from cnntk.exporters.shapes._shape_formulas import ShapeFormula, shape_formulas


def formulas(
    body: str, inputs: str = "float[N, 3, 8, 8] x", **weights: tuple[int, ...]
) -> tuple[ShapeFormula, ...]:
    text = f'<ir_version: 10, opset_import: ["" : 18]>\ng ({inputs}) => (float[M, K] y) {{ {body} }}'
    proto = onnx.parser.parse_model(text)
    for name, shape in weights.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(shape, np.float32), name))
    return shape_formulas(ir.from_proto(proto))


@pytest.mark.parametrize(
    ("body", "shape", "text"),
    [
        ("y = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, w)", ("N", 5, 4, 4),
         "floor((8 + 2*1 - 1*(3-1) - 1)/2) + 1 = 4"),
        ("y = ConvTranspose <strides = [2, 2]> (x, u)", ("N", 6, 17, 17),
         "(8-1)*2 + 1*(3-1) + 1 + 0 - 2*0 = 17"),
        ("y = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x)", ("N", 3, 4, 4),
         "floor((8 + 2*0 - 1*(2-1) - 1)/2) + 1 = 4"),
        ("y = AveragePool <kernel_shape = [3, 3], auto_pad = \"SAME_UPPER\", strides = [2, 2]> (x)",
         ("N", 3, 4, 4), "ceil(8/2) = 4"),
        ("y = GlobalAveragePool (x)", ("N", 3, 1, 1), "1 along each axis of the map"),
        ("y = Flatten (x)", ("N", 192), "3*8*8 = 192"),
        ("y = Flatten <axis = 2> (x)", ("3*N", 64), "8*8 = 64"),
        ("f = Flatten (x) y = Gemm <transB = 1> (f, d)", ("N", 7), "Nx192 times 192x7"),
        ("t = Transpose <perm = [0, 1, 3, 2]> (x) y = MatMul (x, t)", ("N", 3, 8, 8),
         "Nx3x8x8 times Nx3x8x8"),
        ("y = Concat <axis = 1> (x, x)", ("N", 6, 8, 8), "3 + 3 = 6"),
        ("y = Softmax (x)", ("N", 3, 8, 8), "same as its input"),
        ("y = Add (x, b)", ("N", 3, 8, 8), "Nx3x8x8 and 3x1x1 broadcast"),
        ("y = IsNaN (x)", ("N", 3, 8, 8), "same as its input"),
        ("s = Shape <start = 1> (x) c = CastLike (s, x) y = Sqrt (c)", (3,), "same as its input"),
        ("s = Shape (x) i = Constant <value_ints = [-1]> () g = Gather (s, i) c = CastLike (g, x)"
         " y = Mul (x, c)", ("N", 3, 8, 8), "Nx3x8x8 and 1 broadcast"),
        ("y = ReduceMax <keepdims = 0> (x)", (), "over the axes 0, 1, 2, 3"),
    ],
)  # fmt: skip
def test_a_formula(body: str, shape: tuple[object, ...], text: str) -> None:
    weights = {"w": (5, 3, 3, 3), "u": (3, 6, 3, 3), "d": (7, 192), "b": (3, 1, 1)}
    rows = formulas(body, **{name: size for name, size in weights.items() if name in body})
    assert (rows[-1].shape, rows[-1].text) == (shape, text)


def test_an_operator_without_one_says_so_and_the_next_goes_on_from_what_is_recorded() -> None:
    text = (
        'g (float[N, 4] x, bool[4] k) => (float[N, 2] y) <float[N, 2] c>'
        "{ c = Compress <axis = 1> (x, k) y = Relu (c) }"
    )  # fmt: skip
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 18]>\n{text}')
    first, second = shape_formulas(ir.from_proto(proto))
    assert (first.shape, first.text) == (None, "no formula")
    assert second.shape == ("N", 2)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("y = Conv (x, w)", "no output pixel is left"),
        ("t = Constant <value_ints = [-1, 5, 7]> () y = Reshape (x, t)", None),
        ("t = Constant <value_ints = [2, 5, 7]> () y = Reshape (x, t)", None),
        ("s = Constant <value_floats = [1.0, 2.0, 3.0]> () y = Add (x, s)", "8 and 3 do not broadcast"),
    ],
)
def test_what_does_not_fit_has_no_shape(body: str, message: str | None) -> None:
    last = formulas(body, **({"w": (5, 3, 9, 9)} if "Conv" in body else {}))[-1]
    assert last.shape is None or None in last.shape or message is None
    assert message is None or message in last.text


def test_more_elements_than_there_were() -> None:
    body = "t = Constant <value_ints = [5, 7]> () y = Reshape (x, t)"
    assert "192 elements do not fit 5x7" in formulas(body, inputs="float[1, 3, 8, 8] x")[-1].text
