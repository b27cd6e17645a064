"""Half, double and channels-last networks through the whole export."""

import copy
import re
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from cnntk.exporters import ExportReport, export
from cnntk.exporters._op_support import ensure_runnable
from cnntk.exporters._prepare import prepare
from cnntk.exporters.artifact import write_graph
from cnntk.exporters.checks._candidate import Check
from cnntk.exporters.checks._inputs import FLAT
from cnntk.exporters.checks._order import run_checks
from cnntk.exporters.checks.reference import reference_outputs
from cnntk.exporters.options import Dtype, ExportOptions
from cnntk.exporters.session import GraphSession
from cnntk.exporters.sources import open_source
from cnntk.models import zoo
from cnntk.models.checkpoint import save_checkpoint
from cnntk.runtime import Classifier, Engine
from cnntk.runtime.artifact.self_test import run_self_test
from cnntk.runtime.artifact.spec import ModelSpec, Network, Preprocessing, TensorSpec
from cnntk.runtime.errors import CaptureError, CheckpointError, InferenceError, ParityError, UsageError

pytestmark = pytest.mark.slow

SHAPE = (3, 8, 8)
FLOAT32 = ["float32", "float32", "float32"]
HALF = ["float16", "float32", "float32"]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def dense() -> nn.Module:
    """A regression without a convolution, so that onnxruntime runs it in float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Flatten(), nn.Linear(192, 32), nn.BatchNorm1d(32), nn.LeakyReLU(0.1), nn.Linear(32, 1)
        )
        network(torch.randn(16, 3, 8, 8))
    return network.eval()


def types(path: str = "m.onnx") -> list[str]:
    engine = Engine(path)
    return [spec.dtype for spec in (*engine.inputs, *engine.outputs)]


def exported(module: nn.Module, dtype: Dtype = "auto", **options: object) -> ExportReport:
    """Exports to m.onnx, which must hold by itself."""
    report = export(module, "m.onnx", input_shape=SHAPE, dtype=dtype, force=True, **options)
    assert report.parity
    assert all(p.holds for p in report.parity)
    assert Engine("m.onnx").self_test().holds
    return report


PLAIN, LAST = torch.contiguous_format, torch.channels_last
NATIVE = [
    ("float32", LAST, FLOAT32, ""),
    ("float16", PLAIN, HALF, ""),
    ("float16", LAST, HALF, ""),
    ("bfloat16", LAST, FLOAT32, "the network is in bfloat16.*represents its weights exactly"),
    (
        "float64",
        LAST,
        FLOAT32,
        r"no float64 kernel on the CPU for Conv .*each of its float64 weights rounded once",
    ),
]


@pytest.mark.parametrize(
    ("dtype", "layout", "expected", "note"), NATIVE, ids=[f"{c[0]}, {c[1]}" for c in NATIVE]
)
def test_networks_as_they_come(
    small_cnn: nn.Module, dtype: str, layout: torch.memory_format, expected: list[str], note: str
) -> None:
    network = small_cnn.to(getattr(torch, dtype)).to(memory_format=layout)
    x = torch.from_numpy(np.random.default_rng(0).random((5, *SHAPE), np.float32)).to(getattr(torch, dtype))
    torch_logits = network(x).detach().double().numpy()
    weights = copy.deepcopy(network.state_dict())
    report = exported(network)
    assert types() == expected
    array = x.float().numpy().astype(expected[0])
    logits = Engine("m.onnx").run({"input": array})["logits"]
    step = torch.finfo(getattr(torch, dtype)).eps
    assert np.abs(logits - torch_logits).max() < max(16 * step, 1e-6) * np.abs(torch_logits).max()
    assert not note or any(re.search(note, text) for text in report.notes)
    provenance = Engine("m.onnx").spec.provenance
    assert provenance.get("cast_from") == (dtype if note else None)
    for name, tensor in network.state_dict().items():  # the user's own stays as it is
        assert torch.equal(tensor, weights[name])
        assert tensor.dtype == weights[name].dtype


CASTS = [
    ("float32", "float16", HALF),
    ("float64", "float16", HALF),
    ("bfloat16", "float16", HALF),
    ("float16", "float32", FLOAT32),
    ("float64", "float32", FLOAT32),
]


@pytest.mark.parametrize(("before", "after", "expected"), CASTS, ids=[f"{a} to {b}" for a, b, _ in CASTS])
def test_networks_are_cast_to_the_option(
    small_cnn: nn.Module, before: str, after: Dtype, expected: list[str]
) -> None:
    report = exported(small_cnn.to(getattr(torch, before)), after)
    assert types() == expected
    assert f"cast from {before} to {after} by --dtype" in report.notes
    provenance = Engine("m.onnx").spec.provenance
    assert (provenance["cast_from"], provenance["dtype"]) == (before, after)
    costs = [check.detail for check in report.checks if check.name == "cast"]
    loses = after == "float16" or before == "float64"
    assert bool(costs) is loses
    if loses:
        assert costs[0].startswith(f"{before} to {after} changes outputs by at most ")


def test_what_it_is_already_is_no_cast(small_cnn: nn.Module) -> None:
    report = exported(small_cnn.half(), "float16")
    assert "cast_from" not in Engine("m.onnx").spec.provenance
    assert not any("cast" in note for note in report.notes)


@pytest.mark.parametrize("dtype", ["float64", "float16"])
@pytest.mark.parametrize("ending", [nn.Softmax(1), nn.LogSoftmax(1)], ids=["Softmax", "LogSoftmax"])
def test_the_head_is_float32(dense: nn.Module, ending: nn.Module, dtype: str) -> None:
    network = nn.Sequential(*dense[:-1], nn.Linear(32, 4), ending).eval().to(getattr(torch, dtype))
    report = exported(network)
    assert types() == [dtype, "float32", "float32"]
    assert {p.output for p in report.parity} == {"logits", "probabilities"}
    graph = ir.load("m.onnx").graph
    (softmax,) = [node for node in graph if "Softmax" in node.op_type]
    assert softmax.inputs[0].dtype is ir.DataType.FLOAT


def test_float64_is_limited_by_its_step(dense: nn.Module) -> None:
    """BatchNorm's epsilon and LeakyReLU's slope are float32 in ONNX, a million times coarser."""
    report = exported(dense.double())
    assert types() == ["float64", "float64"]
    for p in report.parity:  # on flat images the limit has 16 steps a layer
        assert p.bound < (1e-11 if p.kind in FLAT else 1e-13) * p.scale


def test_a_float64_convolution_is_refused_with_dtype_float64(small_cnn: nn.Module) -> None:
    message = r"no float64 kernel on the CPU for Conv .*module 0.*; export it with --dtype float32"
    for network in (small_cnn, small_cnn.double()):
        with pytest.raises(CaptureError, match=message):
            export(network, "m.onnx", input_shape=SHAPE, dtype="float64")
    assert not Path("m.onnx").exists()


def largest(model: ir.Model) -> ir.Value:
    """The last layer's weights."""
    (gemm,) = [node for node in model.graph if node.op_type == "Gemm"][-1:]
    return gemm.inputs[1]


def checks_of(module: nn.Module, dtype: Dtype, factor: float) -> tuple[Check, ...]:
    """The checks of an export in which the largest weight of the last layer was multiplied."""
    source = ensure_runnable(open_source(module, ExportOptions(SHAPE, dtype=dtype)), dtype)
    candidate = prepare(source, ExportOptions()).candidate
    value = largest(candidate.model)
    weights = value.const_value.numpy().copy()
    weights.reshape(-1)[np.abs(weights).argmax()] *= weights.dtype.type(factor)
    value.const_value = ir.tensor(weights, name=value.name)
    write_graph(candidate.model, Path("wrong.onnx"))
    expected = reference_outputs(candidate.reference, candidate.inputs, candidate.eps)
    run = Engine("wrong.onnx").run
    return run_checks(replace(candidate, run=run, wait_for_reference=lambda: expected), "run")


PRECISION = [
    ("float32", "auto", 1e-4),
    ("bfloat16", "auto", 1e-4),
    ("float64", "auto", 1e-4),
    ("float16", "auto", 0.02),
    ("float32", "float16", 0.02),
]


@pytest.mark.parametrize(("before", "dtype", "change"), PRECISION)
def test_a_weight_that_is_off_by_more_than_the_precision_is_refused(
    small_cnn: nn.Module, before: str, dtype: Dtype, change: float
) -> None:
    network = small_cnn.to(getattr(torch, before))
    assert checks_of(network, dtype, 1.0)
    with pytest.raises(ParityError, match=r"logits: on .* differs from float64"):
        checks_of(network, dtype, 1 + change)


def test_in_float64_a_millionth_of_a_millionth_is_enough(dense: nn.Module) -> None:
    assert checks_of(dense.double(), "auto", 1.0)
    with pytest.raises(ParityError, match=r"output: on .* differs from float64"):
        checks_of(dense.double(), "auto", 1 + 1e-12)


@pytest.mark.parametrize(("dtype", "change"), [("float16", 0.2), ("bfloat16", 1e-4), ("float64", 1e-4)])
def test_the_self_test_finds_a_wrong_weight(small_cnn: nn.Module, dtype: str, change: float) -> None:
    exported(small_cnn.to(getattr(torch, dtype)))
    model, spec = ir.load("m.onnx"), Engine("m.onnx").spec
    value = largest(model)
    weights = value.const_value.numpy().copy()
    weights.reshape(-1)[np.abs(weights).argmax()] *= weights.dtype.type(1 + change)
    value.const_value = ir.tensor(weights, name=value.name)
    model.metadata_props.clear()
    write_graph(model, Path("wrong.onnx"))
    assert not run_self_test(Engine("wrong.onnx").run, spec, "wrong.onnx").holds


def test_a_network_of_the_zoo() -> None:
    report = export("lenet", random=True, dtype="float16")
    assert types("lenet.onnx") == HALF
    assert Engine("lenet.onnx").self_test().holds
    assert report.size_bytes < 200_000  # half of float32's


FACTORY = """
def make(dtype):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 5))
    return network.to(getattr(torch, dtype))
"""


def test_a_factory(as_factory: Callable[[str], str]) -> None:
    for dtype, expected in (("float16", HALF), ("bfloat16", FLOAT32)):
        export(as_factory(FACTORY), input_shape=SHAPE, kwargs={"dtype": dtype}, random=True, force=True)
        assert types("make.onnx") == expected
        assert Engine("make.onnx").self_test().holds


@pytest.fixture
def lenet(tmp_path: Path) -> Callable[[str, str], Path]:
    """Writes a checkpoint whose safetensors hold one type, and whose spec says another."""

    def write(stored: str, declared: str) -> Path:
        network = Network("lenet", {"num_classes": 3})
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module = zoo.build(network).to(getattr(torch, stored))
        inputs = (TensorSpec("input", declared, ("N", 1, 28, 28)),)
        preprocessing = Preprocessing("gray", 28, 28, mean=(0.5,), std=(0.5,))
        spec = ModelSpec("digits", ("a", "b", "c"), inputs, preprocessing, network=network)
        save_checkpoint(tmp_path / "run", module, spec)
        return tmp_path / "run"

    return write


@pytest.mark.parametrize("stored", ["float16", "bfloat16"])
def test_a_checkpoint_in_half_precision(lenet: Callable[[str, str], Path], stored: str) -> None:
    folder = lenet(stored, "float32")
    export(folder, "m.onnx", preprocess="host")
    assert types() == FLOAT32
    held = load_file(folder / "model.safetensors")
    last = list(held)[-1]
    assert any(
        np.array_equal(v.const_value.numpy(), held[last].float().numpy())
        for v in ir.load("m.onnx").graph.initializers.values()
    )
    assert Engine("m.onnx").self_test().holds
    report = export(folder, "half.onnx", preprocess="host", dtype="float16")
    assert types("half.onnx") == HALF
    assert any(check.name == "cast" for check in report.checks)


@pytest.mark.parametrize(("declared", "expected"), [("float16", HALF), ("bfloat16", FLOAT32)])
def test_a_checkpoint_that_says_its_precision(
    lenet: Callable[[str, str], Path], declared: str, expected: list[str]
) -> None:
    export(lenet(declared, declared), "m.onnx", preprocess="host")
    assert types() == expected
    image = np.random.default_rng(0).integers(0, 256, (40, 30), np.uint8)
    assert Classifier("m.onnx")(image).best.label in "abc"
    assert Engine("m.onnx").self_test().holds


def test_weights_of_another_kind_stay_damaged(lenet: Callable[[str, str], Path]) -> None:
    folder = lenet("float16", "float16")
    held = load_file(folder / "model.safetensors")
    save_file({name: (t * 8).to(torch.int8) for name, t in held.items()}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="int8"):
        export(folder, "m.onnx")


RESNET = {"embedding_size": 4, "hidden_sizes": [4, 6], "depths": [1, 1], "num_labels": 3}


TYPES = [("float16", "auto", HALF), ("bfloat16", "auto", FLOAT32), ("float32", "float16", HALF)]


@pytest.mark.parametrize(("stored", "dtype", "expected"), TYPES)
def test_transformers(stored: str, dtype: Dtype, expected: list[str]) -> None:
    pytest.importorskip("transformers")
    export(
        "transformers:resnet",
        kwargs={**RESNET, "dtype": stored},
        random=True,
        input_shape=(3, 32, 32),
        dtype=dtype,
    )
    assert types("resnet.onnx") == expected
    assert Engine("resnet.onnx").self_test().holds


def test_a_captured_program_stays_as_it_is(small_cnn: nn.Module) -> None:
    batch = {0: torch.export.Dim("N")}
    for dtype in (torch.float16, torch.bfloat16):
        network = copy.deepcopy(small_cnn).to(dtype)
        program = torch.export.export(
            network, (torch.zeros(2, *SHAPE, dtype=dtype),), dynamic_shapes=(batch,)
        )
        if dtype is torch.float16:
            exported(program, "float16")
            assert types() == HALF
            with pytest.raises(
                UsageError, match="is in float16, and a captured program can't be cast; capture"
            ):
                export(program, "m.onnx", dtype="float32", force=True)
        else:
            with pytest.raises(
                UsageError, match=r"bfloat16, for which onnxruntime.*capture the module again"
            ):
                export(program, "m.onnx", force=True)


def test_channels_last_inside_the_network_and_in_a_file(small_cnn: nn.Module) -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = small_cnn.to(memory_format=torch.channels_last)

        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return self.inner(input.contiguous(memory_format=torch.channels_last))

    x = np.random.default_rng(0).random((3, *SHAPE), np.float32)
    torch_logits = small_cnn(torch.from_numpy(x)).detach().numpy()
    program = torch.export.export(
        Last().eval(), (torch.zeros(2, *SHAPE),), dynamic_shapes=({0: torch.export.Dim("N")},)
    )
    for source in (Last(), program):
        exported(source)
        np.testing.assert_allclose(Engine("m.onnx").run({"input": x})["logits"], torch_logits, atol=1e-5)


def test_float16_that_overflows_on_every_image_is_refused() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 50), nn.Linear(50, 4)).eval()
    with torch.no_grad():
        network[1].weight.copy_(torch.randn(50, 192, generator=torch.Generator().manual_seed(0)) * 1000)
        network[1].bias.fill_(1e4)
        network[2].weight.copy_(torch.randn(4, 50, generator=torch.Generator().manual_seed(1)) * 1000)
    with pytest.raises(ParityError, match=r"overflows with the cast to float16.*keep float32"):
        export(network, "m.onnx", input_shape=SHAPE, dtype="float16")
    with pytest.raises(ParityError, match=r"the network itself returns NaN.*--dtype float32"):
        export(copy.deepcopy(network).half(), "m.onnx", input_shape=SHAPE)
    assert not Path("m.onnx").exists()
    exported(network)


@pytest.mark.parametrize(
    ("kind", "opset", "refused"), [("float", 18, False), ("double", 18, True), ("bfloat16", 22, True)]
)
def test_what_onnxruntime_has_no_convolution_for(kind: str, opset: int, refused: bool) -> None:
    """The day on which it has them, ``auto`` may keep them."""
    model = ir.from_onnx_text(
        f'<ir_version: 10, opset_import: ["" : {opset}]> '
        f"g ({kind}[N, 3, 8, 8] x, {kind}[4, 3, 3, 3] w) => ({kind}[N, 4, 6, 6] y) {{ y = Conv (x, w) }}"
    )
    with pytest.raises(InferenceError, match="find an implementation for Conv") if refused else nullcontext():
        GraphSession(model)
