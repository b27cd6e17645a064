import io
import logging
import sys
import warnings
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from torch import nn

from cnntk.exporters.capture import IR_VERSION, OPSET, Captured, capture, example_inputs
from cnntk.exporters.options import ExportOptions, InputShape
from cnntk.exporters.passes.origins import recorded_origin
from cnntk.exporters.source import Source
from cnntk.exporters.sources import open_source
from cnntk.exporters.sources.inputs import input_specs
from cnntk.runtime.artifact.spec import TensorSpec
from cnntk.runtime.errors import CaptureError

SHAPE = (3, 8, 8)


def captured(module: nn.Module, shape: InputShape = SHAPE) -> Captured:
    return capture(open_source(module, ExportOptions(input_shape=shape)))


def outputs(result: Captured) -> dict[str, str]:
    return {str(v.name): str(v.shape) for v in result.model.graph.outputs}


def run(result: Captured, *arrays: np.ndarray) -> list[np.ndarray]:
    session = ort.InferenceSession(
        ir.to_proto(result.model).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, dict(zip([i.name for i in session.get_inputs()], arrays, strict=True)))


def test_the_graph_has_a_free_batch_and_no_dropout(small_cnn: nn.Module) -> None:
    model = captured(small_cnn).model
    assert (model.ir_version, model.opset_imports[""]) == (IR_VERSION, OPSET) == (10, 18)
    (graph_input,) = model.graph.inputs
    assert graph_input.name == "input"
    assert str(graph_input.shape) == "[N,3,8,8]"
    assert str(model.graph.outputs[0].shape) == "[N,5]"
    kinds = {node.op_type for node in model.graph}
    assert {"Conv", "Relu", "MaxPool", "Gemm"} <= kinds
    assert "Dropout" not in kinds


def test_any_batch_runs(small_cnn: nn.Module) -> None:
    result = captured(small_cnn)
    x = np.random.default_rng(0).random((5, *SHAPE), dtype=np.float32)
    expected = small_cnn(torch.from_numpy(x)).detach().numpy()
    for batch in (1, 2, 3, 5):
        np.testing.assert_allclose(run(result, x[:batch])[0], expected[:batch], atol=1e-5)


def test_free_sizes_derived_from_the_batch_say_so() -> None:
    class Rows(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.reshape(-1, 3, 8).sum(1).reshape(-1, 8, 8)

    result = captured(Rows())
    inner = [str(v.shape) for node in result.model.graph for v in node.outputs]
    assert "[8*N,3,8]" in inner
    assert outputs(result) == {"output": "[N,8,8]"}


class Everything(nn.Module):
    """Outputs that are inputs, each other, nested, nothing, and named like an input or an inner value."""

    def forward(self, image: torch.Tensor, mask: torch.Tensor) -> dict[str, object]:
        total = image + mask
        return {
            "image": image,
            "add": total * 2,
            "twice": (total, total),
            "nothing": None,
            "flag": True,
            "output": image * mask,
            "best-of": total.amax(dim=(2, 3)).max(dim=1),
        }


def test_names_are_the_same_in_the_graph_and_in_the_program() -> None:
    result = captured(Everything(), {"mask": (1, 8, 8), "image": SHAPE})
    assert list(outputs(result)) == ["image_1", "add", "twice", "twice_1", "output", "best_of", "best_of_1"]
    assert [v.name for v in result.model.graph.inputs] == ["image", "mask"]
    nodes = [node.name for node in result.program.graph_module.graph.nodes]
    assert len(set(nodes)) == len(nodes)
    values = {v.name for node in result.model.graph for v in node.outputs}
    assert set(outputs(result)) <= set(nodes) & values
    signature = result.program.graph_signature
    assert list(signature.user_inputs) == ["image", "mask"]
    assert list(signature.user_outputs) == list(outputs(result))
    image, mask = (np.random.default_rng(0).random((3, c, 8, 8), dtype=np.float32) for c in (3, 1))
    got = run(result, image, mask)
    by_name = dict(zip(outputs(result), got, strict=True))
    np.testing.assert_array_equal(by_name["image_1"], image)
    np.testing.assert_array_equal(by_name["twice"], by_name["twice_1"])
    np.testing.assert_allclose(by_name["add"], (image + mask) * 2)


def compared_nodes(result: Captured, x: np.ndarray) -> set[str]:
    """Names that the program and the graph share; asserts that their values are equal."""
    visible = result.model.clone()
    visible.graph.outputs.extend(
        v for n in visible.graph for v in n.outputs if v.type is not None and not v.is_graph_output()
    )
    session = ort.InferenceSession(
        ir.to_proto(visible).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [o.name for o in session.get_outputs()]
    onnx_values = dict(zip(names, session.run(None, {visible.graph.inputs[0].name: x}), strict=True))
    seen = set()

    class Compare(torch.fx.Interpreter):
        def run_node(self, n: torch.fx.Node) -> object:
            value = super().run_node(n)
            if n.name in onnx_values and isinstance(value, torch.Tensor):
                np.testing.assert_allclose(onnx_values[n.name], value.numpy(), atol=1e-5)
                seen.add(n.name)
            return value

    program = result.program
    state = {**program.state_dict, **program.constants}
    arguments = [
        state[s.target] if s.target else torch.from_numpy(x) for s in program.graph_signature.input_specs
    ]
    with torch.inference_mode():
        Compare(program.graph_module).run(*arguments)
    return seen


def test_the_program_interprets_to_the_values_of_its_names(small_cnn: nn.Module) -> None:
    """What the proof rests on: each node of the program is the graph's value of that name."""
    x = np.random.default_rng(0).random((2, *SHAPE), dtype=np.float32)
    seen = compared_nodes(captured(small_cnn), x)
    assert len(seen) >= 6
    assert "output" in seen


class Buffered(nn.Module):
    """Adds a buffer of each of some names; its own graph has names of torch's and of the translation."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.f = nn.Linear(3, 4)
        for name in names:
            self.register_buffer(name, torch.full((3,), 0.01 * len(self._buffers)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = nn.functional.gelu(nn.functional.relu(x - 0.2).mean((2, 3))) / x.shape[1]
        return self.f((sum(self._buffers.values(), y) * 2).softmax(1))


def names_in(model: ir.Model) -> set[str]:
    nodes = list(model.graph.all_nodes())
    return {str(v.name) for n in nodes for v in (n, *n.inputs, *n.outputs) if v is not None}


def test_a_weight_may_have_any_name_that_the_graph_uses_itself() -> None:
    """torch's translation then defines a name twice, which onnxruntime refuses."""
    odd = ["my mean", "größe", "a/b", "x:0", "class", "weight_0", "p_f_weight", "b_relu", "input", "output"]
    inner = names_in(captured(Buffered([])).model)
    names = odd + sorted({n.replace(".", "_") for n in inner} - {*odd, "f"})
    assert {"relu", "gelu", "mean", "val_0", "node_relu", "softmax"} <= set(names)
    module = Buffered(names)
    result = captured(module)
    x = np.random.default_rng(0).random((2, *SHAPE), dtype=np.float32)
    np.testing.assert_allclose(run(result, x)[0], module(torch.from_numpy(x)).detach().numpy(), atol=1e-6)
    assert len(compared_nodes(result, x)) > len(names)
    weights = result.model.graph.initializers
    assert set(names) - {*weights} == {"input", "output"}  # these belong to the interface
    for name in names:
        value = weights[name if name in weights else f"{name}_1"]
        np.testing.assert_array_equal(value.const_value.numpy(), module._buffers[name].numpy(), name)
        origin = recorded_origin(value)
        assert (origin.formula, origin.name) == ("source", name)
        assert name in {s.target for s in result.program.graph_signature.input_specs}


def test_the_users_names_of_inputs_and_outputs_stay() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.ones(1))
            self.register_buffer("relu", torch.ones(1))

        def forward(self, mean: torch.Tensor) -> dict[str, torch.Tensor]:
            return {
                "relu": mean.relu() * self.mean,
                "class": mean + self.relu,
                "val_0": mean.mean((2, 3)) * 2,
            }

    result = captured(Named(), {"mean": SHAPE})
    assert [v.name for v in result.model.graph.inputs] == ["mean"]
    assert list(outputs(result)) == ["relu", "class", "val_0"]
    assert not {"mean", "relu"} & set(result.model.graph.initializers)
    x = np.random.default_rng(0).random((2, *SHAPE), dtype=np.float32)
    assert {"relu", "class", "val_0"} <= compared_nodes(result, x)


def test_a_program_is_not_changed(small_cnn: nn.Module) -> None:
    batch = {0: torch.export.Dim("N")}
    program = torch.export.export(small_cnn, (torch.zeros(2, *SHAPE),), dynamic_shapes=(batch,))
    before = str(program.graph), str(program.graph_signature)
    assert outputs(capture(open_source(program, ExportOptions()))) == {"output": "[N,5]"}
    assert (str(program.graph), str(program.graph_signature)) == before


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_the_graph_has_the_precision_of_the_module(small_cnn: nn.Module, dtype: str) -> None:
    kind = getattr(torch, dtype)
    model = capture(Source("small", input_specs(SHAPE, dtype), small_cnn.to(kind))).model
    expected = ir.DataType.from_numpy(np.dtype(dtype)) if dtype != "bfloat16" else ir.DataType.BFLOAT16
    assert {v.dtype for v in (*model.graph.inputs, *model.graph.outputs)} == {expected}


def test_example_inputs_are_two_of_a_kind() -> None:
    (image, ids) = example_inputs((TensorSpec("a", "float16", ("N", 3)), TensorSpec("b", "int64", ("N",))))
    assert (image.shape, image.dtype, ids.shape, ids.dtype) == ((2, 3), torch.float16, (2,), torch.int64)


class Cut(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[x > 0]


class Reshaped(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(2, -1)


class Looped(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([row.sum() for row in x])


class FirstTwo(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([x[0], x[1]])


class Bessel(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(x)


class Mismatched(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ torch.ones(7, 3)


class Counted(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.repeat(1, 1, int(x.max()), 1)


class Scaled(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3)) / float(x.amax())


class Listed(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3)) * torch.tensor(x.mean((0, 2, 3)).tolist())


class Squeezed(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3), keepdim=True).squeeze()


class SqueezedBatch(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3)).squeeze(0)


class Reduced(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean()


class Addressed(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * (x.data_ptr() > 0)


class Moved(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ torch.ones(8, 3, device="meta")


class Raising(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise KeyError("no such thing")


class Chosen(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=(2, 3)) if x.sum() > 0 else x.amax(dim=(2, 3))


class Even(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * (2 if x.shape[0] % 2 == 0 else 3)


REFUSED = [
    (Chosen, "x.sum() > 0", "a branch of the network depends on the values in the image; .*torch.where"),
    (Cut, "x[x > 0]", "the size of an output depends on the values in the image; .*torch.where"),
    (Counted, "int(x.max())", "depends on the values in the image"),
    (Scaled, "float(x.amax())", r"int\(\), float\(\) and .item\(\) take one number from all images .*x.amax"),
    (Listed, ".tolist()", "take one number from all images of a batch"),
    (Squeezed, ".squeeze()", r"squeeze\(\) also drops the batch axis where the batch is 1; use flatten\(1\)"),
    (SqueezedBatch, ".squeeze(0)", "this squeeze also drops the batch axis"),
    (Reshaped, "x.reshape(2, -1)", "the batch is fixed: torch infers that it must be 2; use x.shape"),
    (Looped, "for row in x", "the batch is fixed"),
    (FirstTwo, "torch.stack([x[0], x[1]])", "the batch is fixed: the output has shape 2x3x8x8"),
    (Reduced, "x.mean()", "the batch is fixed: the output is one number for every batch size"),
    (Bessel, "torch.special.bessel_j0(x)", "ONNX has no operator for prims.bessel_j0"),
    (
        Addressed,
        "x.data_ptr()",
        "torch.export can't capture it: .*; write it with plain operations",
    ),
    (
        Mismatched,
        "x @ torch.ones(7, 3)",
        "fails on an input of shape 3x8x8: .*7x3.*; pass the shape that it takes with --input$",
    ),
    (Moved, 'device="meta"', r"the network moves tensors to another device \(.*\); .* use x.device"),
    (Raising, "raise KeyError", "fails on an input of shape 3x8x8: 'no such thing'; pass"),
]


@pytest.mark.parametrize(("kind", "code", "message"), REFUSED, ids=[case[0].__name__ for case in REFUSED])
def test_what_can_not_be_captured_names_the_users_line(
    kind: type[nn.Module], code: str, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CaptureError, match=message) as caught:
        captured(kind())
    text = str(caught.value)
    assert text.startswith(f"{kind.__name__.lower()}: {__file__}:")
    assert code in text.split("`")[1]
    assert "\n" not in text
    assert not text.endswith((".", "?"))
    assert capfd.readouterr() == ("", "")


class Sound(nn.Module):
    """Numbers from weights and shapes, and squeezes of other axes."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        columns = torch.tensor(x.shape[3]).item()
        pooled = x.mean((2, 3), keepdim=True).squeeze(3).squeeze((2,))
        return pooled * self.scale.item() / columns


def test_numbers_of_weights_and_squeezes_of_other_axes_are_sound() -> None:
    x = np.random.default_rng(0).random((1, *SHAPE), dtype=np.float32)
    np.testing.assert_allclose(run(captured(Sound()), x)[0], x.mean((2, 3)) * 2.5 / 8, rtol=1e-5)


class Any(nn.Module):
    def forward(self, first: torch.Tensor, *args: torch.Tensor, **kwargs: float) -> torch.Tensor:
        return sum((a.mean((2, 3)) for a in args), first.mean((2, 3)))


def test_inputs_of_a_forward_that_takes_any_number() -> None:
    arrays = [np.random.default_rng(i).random((3, *SHAPE), dtype=np.float32) for i in range(3)]
    for count in (1, 2, 3):
        result = captured(Any(), {f"x{i}": SHAPE for i in range(count)})
        expected = sum(a.mean((2, 3)) for a in arrays[:count])
        np.testing.assert_allclose(run(result, *arrays[:count])[0], expected, rtol=1e-5)


def test_the_ema_of_weights_that_torch_keeps_is_exported(small_cnn: nn.Module) -> None:
    average = torch.optim.swa_utils.AveragedModel(small_cnn).eval()
    x = np.random.default_rng(0).random((3, *SHAPE), dtype=np.float32)
    expected = average(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(run(captured(average), x)[0], expected, atol=1e-5)


def test_a_batch_that_must_be_even_is_refused() -> None:
    """torch does not say which line wants it."""
    with pytest.raises(CaptureError, match=r"^even: the batch is not dynamic: it must satisfy .* % 2\) == 0"):
        captured(Even())


def test_torchs_report_is_the_cause_of_the_error(branching: nn.Module) -> None:
    """So ``--debug`` shows it, and no file is needed."""
    with pytest.raises(CaptureError) as caught:
        captured(branching)
    assert "data-dependent" in str(caught.value.__cause__)


def test_code_that_only_the_second_way_takes_is_captured() -> None:
    class Numpy(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(x.numpy() * 2)

    result = captured(Numpy())
    np.testing.assert_array_equal(run(result, np.ones((3, *SHAPE), np.float32))[0], 2)


def test_the_users_settings_stay(small_cnn: nn.Module, branching: nn.Module) -> None:
    def state() -> tuple[object, ...]:
        return (
            list(warnings.filters),
            logging.getLogger("torch").level,
            sys.stderr,
            torch.get_rng_state().tolist(),
        )

    before = state()
    captured(small_cnn)
    with pytest.raises(CaptureError):
        captured(branching)
    assert state() == before


def test_other_threads_still_write_to_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    from cnntk.exporters.sources.console import suppress_output

    terminal = io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    with suppress_output() as output:
        print("torch", file=sys.stderr)
        thread = threading.Thread(target=lambda: print("progress", file=sys.stderr))
        thread.start()
        thread.join()
    assert (output.getvalue(), terminal.getvalue()) == ("torch\n", "progress\n")
