import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cnntk.exporters.passes import run_passes
from cnntk.exporters.passes._batch_norm import FoldBatchNorm
from cnntk.exporters.passes._constants import FoldConstants

BN = {"g": [1.5, 0.5, -2], "b": [1, 0, -1], "m": [0.3, -2, 1], "v": [0.5, 2, 1]}
BN = {k: np.array(v, np.float32) for k, v in BN.items()}
RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def test_into_the_convolution_in_front(captured, apply, operators) -> None:
    model = captured(
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU()), 3, 6, 6
    )
    rewritten, record = apply(model, FoldConstants(), FoldBatchNorm())
    assert record.status == "applied"
    assert operators(rewritten) == ["Conv", "Relu"]
    conv = rewritten.graph.node(0)
    assert "conv2d" in conv.name
    assert conv.metadata_props["pkg.torch.onnx.name_scopes"]
    assert conv.inputs[1].name == "0.weight"


def test_into_a_wide_convolution_without_bias(captured, apply, operators) -> None:
    """torch writes its missing bias as an Expand of one zero."""
    channels = 1280
    model = captured(
        lambda: nn.Sequential(nn.Conv2d(3, channels, 1, bias=False), nn.BatchNorm2d(channels)), 3, 4, 4
    )
    assert "Expand" in operators(model)
    rewritten, record = apply(model, FoldConstants(), FoldBatchNorm())
    assert (operators(rewritten), record.rewrites.skipped) == (["Conv"], ())


@settings(max_examples=25, deadline=None)
@given(
    groups=st.integers(1, 3),
    channels=st.integers(1, 3),
    features=st.integers(1, 3),
    kernel=st.integers(1, 3),
    transposed=st.booleans(),
    bias=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_over_shapes(groups, channels, features, kernel, transposed, bias, seed) -> None:
    import onnx_ir as ir

    rng = np.random.default_rng(seed)
    c, o = groups * channels, groups * features
    shape = (c, features, kernel, kernel) if transposed else (o, channels, kernel, kernel)
    operator = "ConvTranspose" if transposed else "Conv"
    model = ir.from_onnx_text(
        f"""<ir_version: 10, opset_import: ["" : 18]>
        g (float[N,{c},5,5] x) => (float[N,{o},h,w] y)
        <float{list(shape)} w, float[{o}] c, float[{o}] g, float[{o}] b, float[{o}] m, float[{o}] v> {{
            h = {operator}<group = {groups}>(x, w{", c" if bias else ""})
            y = BatchNormalization(h, g, b, m, v)
        }}"""
    )
    held = {v.name: v for node in model.graph for v in node.inputs if v is not None}
    for name in {*"wcgbmv"} & held.keys():
        drawn = rng.uniform(0.5, 2, o) if name == "v" else rng.standard_normal(shape if name == "w" else o)
        held[name].const_value = ir.tensor(drawn.astype(np.float32), name=name)
        model.graph.register_initializer(held[name])
    x = rng.standard_normal((2, c, 5, 5)).astype(np.float32)
    rewritten, (record,) = run_passes(model, [{"x": x}], (FoldBatchNorm(),))
    assert (record.status, record.rollback_reason) == ("applied", None)
    assert [n.op_type for n in rewritten.graph] == [operator]


def test_into_a_gemm_and_into_the_one_behind(written, apply, operators) -> None:
    model = written(
        """g (float[N,4] x) => (float[N,2] y) {
            h = Gemm<transB = 1, alpha = 0.5>(x, w, c)  n = BatchNormalization(h, g, b, m, v)  r = Relu(n)
            o = BatchNormalization(r, g, b, m, v)  y = Gemm(o, z)
        }""",
        w=normal(3, 4), c=normal(3), z=normal(3, 2), **BN,
    )  # fmt: skip
    rewritten, _ = apply(model, FoldBatchNorm())
    assert operators(rewritten) == ["Gemm", "Relu", "Gemm"]


def skipped(model, apply) -> str:
    _, record = apply(model, FoldBatchNorm(), exact=False)
    assert record.status == "nothing to do"
    return record.rewrites.skipped[0]


def test_padding_keeps_it_in_front(written, apply) -> None:
    text = """g (float[N,3,5,5] x) => (float[N,2,5,5] y) {
        n = BatchNormalization(x, g, b, m, v)  y = Conv<pads = [1, 1, 1, 1]>(n, w) }"""
    assert "pads with zeros" in skipped(written(text, w=normal(2, 3, 3, 3), **BN), apply)


def test_no_shift_reaches_padding_unharmed(written, apply, operators) -> None:
    text = """g (float[N,3,5,5] x) => (float[N,2,5,5] y) {
        n = BatchNormalization(x, g, b, m, v)  y = Conv<pads = [1, 1, 1, 1]>(n, w) }"""
    plain = {**BN, "b": np.zeros(3, np.float32), "m": np.zeros(3, np.float32)}
    rewritten, _ = apply(written(text, w=normal(2, 3, 3, 3), **plain), FoldBatchNorm())
    assert operators(rewritten) == ["Conv"]


def test_shared_weights_and_outputs_read_twice_stay(written, apply) -> None:
    shared = """g (float[N,3,5,5] x) => (float[N,3,5,5] y, float[N,3,5,5] z) {
        h = Conv(x, w)  y = BatchNormalization(h, g, b, m, v)  z = Conv(x, w) }"""
    assert "used elsewhere" in skipped(written(shared, w=normal(3, 3, 1, 1), **BN), apply)
    twice = """g (float[N,3,5,5] x) => (float[N,3,5,5] y, float[N,3,5,5] z) {
        h = Conv(x, w)  y = BatchNormalization(h, g, b, m, v)  z = Relu(h) }"""
    assert "used elsewhere" in skipped(written(twice, w=normal(3, 3, 1, 1), **BN), apply)


def test_training_mode_stays(written, apply) -> None:
    text = """g (float[N,3,5,5] x) => (float[N,3,5,5] y) {
        h = Conv(x, w)  y, p, q = BatchNormalization<training_mode = 1>(h, g, b, m, v) }"""
    assert "statistics of the batch" in skipped(written(text, w=normal(3, 3, 1, 1), **BN), apply)


def test_a_variance_below_zero_stays(written, apply) -> None:
    text = """g (float[N,3,5,5] x) => (float[N,3,5,5] y) {
        h = Conv(x, w)  y = BatchNormalization(h, g, b, m, v) }"""
    bad = {**BN, "v": np.array([1, -1, 1], np.float32)}
    assert "not finite" in skipped(written(text, w=normal(3, 3, 1, 1), **bad), apply)


def test_what_stays_is_listed_with_its_reason(written, apply) -> None:
    computed = """g (float[N,3,5,5] x, float[3] c) => (float[N,3,5,5] y) {
        h = Conv(x, w, c)  y = BatchNormalization(h, g, b, m, v) }"""
    assert "its c is not constant" in skipped(written(computed, w=normal(3, 3, 1, 1), **BN), apply)
    alone = """g (float[N,3,5,5] x) => (float[N,3,5,5] y) {
        h = Sigmoid(x)  y = BatchNormalization(h, g, b, m, v) }"""
    assert "no linear layer next to it" in skipped(written(alone, **BN), apply)
