"""`add_preprocessing`: names, shapes, the record, and what it refuses."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from pixel_graphs import dark_and_light, echo, graph, open_session

from cnntk.exporters.preprocessing import add_preprocessing
from cnntk.runtime.artifact.spec import Preprocessing, TensorSpec
from cnntk.runtime.errors import UsageError
from cnntk.runtime.preprocessing.preprocess import preprocess

RNG = np.random.default_rng(0)
P = Preprocessing("rgb", 4, 5, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))


def parsed(text: str, opset: int = 18) -> ir.Model:
    return ir.from_proto(onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : {opset}]>\n{text}'))


def test_the_record() -> None:
    model = echo(P)
    record = add_preprocessing(model, P)
    assert record.input == TensorSpec("image", "uint8", ("N", "H", "W", "C"))
    assert record.operators == ("Resize", "Expand", "Transpose", "Cast", "Sub", "Mul")
    assert record.nodes == 6
    assert record.shift == pytest.approx((127.5, 102, 76.5))
    assert record.factor == pytest.approx([1 / 255 / s for s in P.std])
    assert [str(d) for d in model.graph.inputs[0].shape] == ["N", "H", "W", "C"]
    assert record.pixel_values in {v.name for node in model.graph for v in node.outputs}


@pytest.mark.parametrize("resize", ["stretch", "shortest", "longest"])
def test_every_value_has_a_type_and_a_shape(resize: str) -> None:
    model = echo(p := replace(P, resize=resize, invert="light-background"))
    add_preprocessing(model, p)
    added = [node for node in model.graph if (node.name or "").startswith("preprocess/")]
    assert len(added) == len(list(model.graph)) - 1
    for node in added:
        assert node.outputs[0].dtype is not None
        assert node.outputs[0].shape is not None


def test_other_inputs_stay() -> None:
    model = parsed(
        "g (float[N, 3, 4, 5] input, float[N, 1] age) => (float[N, 3, 4, 5] y)"
        "<int64[2] axes = {2, 3}> { wide = Unsqueeze (age, axes) y = Mul (input, wide) }"
    )
    ages = np.array([[2.0], [3.0]], dtype=np.float32)
    add_preprocessing(model, P, others={"age": ages})
    assert [v.name for v in model.graph.inputs] == ["image", "age"]
    batch = dark_and_light(np.random.default_rng(0), (4, 5), 3)
    (output,) = open_session(model).run(None, {"image": batch, "age": ages})
    np.testing.assert_allclose(output, preprocess(list(batch), P) * ages[:, :, None, None], atol=1e-5)


@pytest.mark.parametrize("name", ["image", "preprocess/resized", "input"])
def test_names_in_use(name: str) -> None:
    model = parsed(
        "g (float[N, 3, 4, 5] input) => (float[N, 3, 4, 5] y) { inner = Relu (input) y = Neg (inner) }"
    )
    for value in [model.graph.inputs[0], *(v for node in model.graph for v in node.outputs)]:
        if value.name == ("input" if name == "input" else "inner"):
            value.name = name
    add_preprocessing(model, P)
    names = [v.name for node in model.graph for v in node.outputs]
    assert len({*names, "image"}) == len(names) + 1
    open_session(model)


def test_narrow_floats_are_cast_at_the_end() -> None:
    model = parsed("g (float16[N, 3, 4, 5] input) => (float16[N, 3, 4, 5] y) { y = Neg (input) }")
    record = add_preprocessing(model, P)
    assert record.operators == ("Resize", "Expand", "Transpose", "Cast", "Sub", "Mul")
    batch = dark_and_light(np.random.default_rng(0), (4, 5), 3)
    (output,) = open_session(model).run(None, {"image": batch})
    assert np.array_equal(output, -preprocess(list(batch), P).astype(np.float16)) or np.allclose(
        output, -preprocess(list(batch), P), atol=2e-3
    )


@pytest.mark.parametrize(
    ("make", "p", "message"),
    [
        (
            echo,
            replace(P, interpolation="lanczos"),
            "lanczos: ONNX has no such filter; use --preprocess host",
        ),
        (lambda p: echo(replace(p, width=6)), P, r"input input: .*\[N, 3, 4, 5\].*float \['?N"),
        (
            lambda p: parsed("g (int64[N, 3, 4, 5] input) => (int64[N, 3, 4, 5] y) { y = Neg (input) }"),
            P,
            "int64",
        ),
        (lambda p: parsed("g (float[N, 60] input) => (float[N, 60] y) { y = Neg (input) }"), P, "is float"),
        (
            lambda p: parsed("g (float[N, 3, 4, 5] input) => (float[N, 3, 4, 5] y) { y = Neg (input) }", 17),
            P,
            "needs opset 18, the model has 17",
        ),
    ],
    ids=["lanczos", "size", "type", "rank", "opset"],
)
def test_what_is_refused(make: Callable[[Preprocessing], ir.Model], p: Preprocessing, message: str) -> None:
    model = make(p)
    before = ir.to_proto(model).SerializeToString()
    with pytest.raises(UsageError, match=message):
        add_preprocessing(model, p)
    assert ir.to_proto(model).SerializeToString() == before


@pytest.mark.parametrize("color", ["rgb", "bgr"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_channel_order(color: str, layout: str) -> None:
    p = Preprocessing(color, 4, 5, scale=1.0, mean=(0.0,) * 3, std=(1.0,) * 3, layout=layout)
    image = RNG.integers(0, 256, (2, 4, 5, 3), dtype=np.uint8)
    expected = image if color == "rgb" else image[..., ::-1]
    output = graph(p)(image)
    assert np.array_equal(output if layout == "NHWC" else output.transpose(0, 2, 3, 1), expected)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_gray_stands_for_all_three(layout: str) -> None:
    p = Preprocessing("bgr", 4, 5, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), layout=layout)
    gray = RNG.integers(0, 256, (2, 4, 5, 1), dtype=np.uint8)
    run = graph(p)
    assert np.array_equal(run(gray), run(np.repeat(gray, 3, axis=3)))


@pytest.mark.parametrize("channels", [2, 4])
def test_other_numbers_of_channels_are_an_error(channels: int) -> None:
    p = Preprocessing("rgb", 4, 5, mean=(0.0,) * 3, std=(1.0,) * 3)
    model = echo(p)
    add_preprocessing(model, p)
    with pytest.raises(Exception, match="Expand"):
        open_session(model).run(None, {"image": np.zeros((1, 4, 5, channels), np.uint8)})


def test_a_gray_network_takes_gray_images() -> None:
    p = Preprocessing("gray", 4, 5)
    model = echo(p)
    assert add_preprocessing(model, p).input.shape == ("N", "H", "W", 1)
    with pytest.raises(Exception, match="invalid dimensions"):
        open_session(model).run(None, {"image": np.zeros((1, 4, 5, 3), np.uint8)})
