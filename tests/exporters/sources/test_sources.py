"""The plain kinds of source: checkpoint, zoo, factory, module; and which text names which."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from cnntk.exporters.options import ExportOptions
from cnntk.exporters.source import Source
from cnntk.exporters.sources import open_source
from cnntk.models import zoo
from cnntk.models.checkpoint import save_checkpoint
from cnntk.runtime.artifact.spec import ModelSpec, Network, TensorSpec
from cnntk.runtime.errors import CheckpointError, MissingDependency, UsageError

SHAPE = (3, 8, 8)

LINEAR = """
def make(classes=4, dtype="float32"):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, classes)).to(getattr(torch, dtype))
"""


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    inputs = (TensorSpec("input", "float32", ("N", 1, 28, 28)),)
    network = Network("lenet", {"num_classes": 3})
    spec = ModelSpec("digits", ("a", "b", "c"), inputs, network=network, provenance={"epochs": 1})
    save_checkpoint(tmp_path / "run", zoo.build(network), spec)
    return tmp_path / "run"


def test_a_checkpoint(checkpoint: Path) -> None:
    for path in (checkpoint, checkpoint / "model.safetensors", str(checkpoint)):
        source = open_source(path, ExportOptions())
        assert (source.name, source.labels, source.classifier) == ("run", ("a", "b", "c"), True)
        assert source.inputs[0].shape == ("N", 1, 28, 28)
        assert source.module(torch.zeros(2, 1, 28, 28))["output"].shape == (2, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"random": True}, "a checkpoint, which contains network and weights"),
        ({"kwargs": {"num_classes": 4}}, "a checkpoint, which contains network and weights"),
        ({"input_shape": (1, 32, 32)}, "--input 1x32x32: .* was trained at 1x28x28"),
        ({"input_shape": {"x": (1, 28, 28)}}, "takes one input"),
    ],
)
def test_options_that_contradict_a_checkpoint(
    checkpoint: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        open_source(checkpoint, ExportOptions(**options))


def test_a_network_of_the_zoo() -> None:
    source = open_source(
        "lenet", ExportOptions(random=True, kwargs={"num_classes": 7}, input_shape=(3, 32, 32))
    )
    assert source.network == Network("lenet", {"in_channels": 3, "image_size": 32, "num_classes": 7})
    assert source.inputs == (TensorSpec("input", "float32", ("N", 3, 32, 32)),)
    assert source.module(torch.zeros(2, 3, 32, 32))["output"].shape == (2, 7)


def test_a_factory_with_weights(as_factory: Callable[[str], str], tmp_path: Path) -> None:
    state = nn.Sequential(nn.Flatten(), nn.Linear(192, 6)).state_dict()
    torch.save(state, tmp_path / "w.pt")
    save_file(state, tmp_path / "w.safetensors")
    for name in ("w.pt", "w.safetensors"):
        options = ExportOptions(SHAPE, str(tmp_path / name), {"classes": 6})
        source = open_source(as_factory(LINEAR), options)
        assert torch.equal(source.module[1].weight, state["1.weight"])
        assert (source.name, source.provenance) == ("make", {"weights": name})


LOADED = """
class Net(nn.Linear):
    def __init__(self):
        super().__init__(3, 4)

class Head(nn.Sequential):
    def __init__(self):
        super().__init__(loaded(), nn.Linear(4, 2))

def loaded():
    net = Net()
    net.load_state_dict({k: torch.ones_like(v) for k, v in net.state_dict().items()})
    return net

instance = loaded()
random = nn.Linear(3, 4)
"""


@pytest.mark.parametrize("name", ["loaded", "instance"])
def test_weights_that_the_code_loads_need_no_option(as_factory: Callable[[str], str], name: str) -> None:
    reference = as_factory(LOADED).replace(":make", f":{name}")
    source = open_source(reference, ExportOptions({"x": (3,)}))
    assert torch.equal(source.module.weight, torch.ones(4, 3))
    assert source.provenance == {"weights": "as the code made them"}
    assert source.notes == (
        f"weights: as {reference} made them, equal in two builds; the code loads them (load_state_dict)",
    )


SEEDED = """
torch.manual_seed(3)
seeded = nn.Linear(3, 4)
constant = nn.Linear(3, 4)
nn.init.ones_(constant.weight)
nn.init.zeros_(constant.bias)
"""


def test_weights_of_a_fixed_seed_are_random(as_factory: Callable[[str], str]) -> None:
    reference = as_factory(SEEDED).replace(":make", "")
    with pytest.raises(UsageError, match=r":seeded: pass its weights .*'weight' differs between two builds"):
        open_source(f"{reference}:seeded", ExportOptions({"x": (3,)}))
    source = open_source(f"{reference}:constant", ExportOptions({"x": (3,)}))
    assert source.notes[0].endswith("equal in two builds; the code computes them; it loads no file")


@pytest.mark.parametrize("is_imported", [False, True])
def test_an_instance_in_a_package_is_random_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_imported: bool
) -> None:
    package = tmp_path / f"mynets{is_imported}"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "parts.py").write_text("from torch import nn\nnet = nn.Linear(3, 4)\n")
    (package / "nets.py").write_text("from .parts import net\nagain = net\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = importlib.import_module(f"{package.name}.nets") if is_imported else None
    with pytest.raises(UsageError, match="'weight' differs between two builds"):
        open_source(f"{package.name}.nets:again", ExportOptions({"x": (3,)}))
    assert before is None or sys.modules[f"{package.name}.nets"] is before
    loading = "net.load_state_dict({k: v * 0 for k, v in net.state_dict().items()})\n"
    (package / "parts.py").write_text(f"from torch import nn\nnet = nn.Linear(3, 4)\n{loading}")
    for name in [name for name in sys.modules if name.startswith(package.name)]:
        del sys.modules[name]
    source = open_source(f"{package.name}.nets:again", ExportOptions({"x": (3,)}))
    assert not source.module.weight.any()


def test_a_class_of_the_course_is_taken_by_its_net(as_factory: Callable[[str], str]) -> None:
    body = """
class Plain:
    def __init__(self):
        self.lr, self.net = 0.1, nn.Linear(3, 4)

class NoForward(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(3, 4)

class Two(NoForward):
    def __init__(self):
        super().__init__()
        self.other = nn.Linear(3, 4)
"""
    reference, options = as_factory(body).replace(":make", ""), ExportOptions({"x": (3,)}, random=True)
    for name, lack in (("Plain", "is no torch.nn.Module"), ("NoForward", "has no forward")):
        with pytest.warns(UserWarning, match=f"{name} {lack}, so its only network is taken, .*'net'"):
            source = open_source(f"{reference}:{name}", options)
        assert source.module(torch.zeros(2, 3))["output"].shape == (2, 4)
    with pytest.raises(UsageError, match="Two has no forward, so it can't be run; add one to the class"):
        open_source(f"{reference}:Two", options)


def test_weights_are_loaded_and_reported(as_factory: Callable[[str], str], tmp_path: Path) -> None:
    state = nn.Sequential(nn.Flatten(), nn.Linear(192, 4)).state_dict()
    average = {k: v + 1 for k, v in state.items()}
    torch.save({"model": {f"module.{k}": v for k, v in state.items()}, "ema": average}, tmp_path / "w.ckpt")
    source = open_source(as_factory(LINEAR), ExportOptions(SHAPE, str(tmp_path / "w.ckpt")))
    assert torch.equal(source.module[1].weight, average["1.weight"])
    assert source.provenance == {"weights": "w.ckpt#ema"}
    assert source.notes[0].startswith("weights of w.ckpt: those under 'ema', a moving average; 'model")


@pytest.mark.parametrize(("name", "weight"), [("Net", "weight"), ("Head", "1.weight"), ("random", "weight")])
def test_random_weights_need_an_option(as_factory: Callable[[str], str], name: str, weight: str) -> None:
    reference = as_factory(LOADED).replace(":make", f":{name}")
    with pytest.raises(
        UsageError, match=rf":{name}: pass its weights .*'{weight}' differs between two builds"
    ):
        open_source(reference, ExportOptions({"x": (3,)}))
    source = open_source(reference, ExportOptions({"x": (3,)}, random=True))
    assert source.provenance == {"weights": "random, seed 0"}


def test_lazy_layers_take_their_shapes_from_the_input(as_factory: Callable[[str], str]) -> None:
    body = "def make():\n    return nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(5))"
    source = open_source(as_factory(body), ExportOptions(SHAPE, random=True))
    assert source.module[2].weight.shape == (5, 4 * 36)
    assert source.notes == ("lazy layers took their shapes from one run on zeros of the input's shape",)
    again = open_source(as_factory(body), ExportOptions(SHAPE, random=True))
    assert torch.equal(source.module[2].weight, again.module[2].weight)


def test_a_lazy_module_of_the_user_stays_lazy() -> None:
    module = nn.Sequential(nn.Flatten(), nn.LazyLinear(5))
    source = open_source(module, ExportOptions(SHAPE))
    assert source.module[1].weight.shape == (5, 192)
    assert isinstance(module[1], nn.LazyLinear)


class Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("it ran",)


def test_weights_that_would_run_code_are_refused(
    as_factory: Callable[[str], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"1.weight": Payload()}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=r"w\.pt"):
        open_source(as_factory(LINEAR), ExportOptions(SHAPE, str(tmp_path / "w.pt")))
    assert "it ran" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("dtype", "expected"), [("float16", "float16"), ("bfloat16", "float32"), ("float64", "float64")]
)
def test_a_factorys_precision_is_that_of_the_input(
    as_factory: Callable[[str], str], dtype: str, expected: str
) -> None:
    options = ExportOptions(SHAPE, kwargs={"dtype": dtype}, random=True)
    assert open_source(as_factory(LINEAR), options).inputs[0].dtype == expected


def test_weights_of_normed_layers_load_before_the_norm_is_resolved(
    as_factory: Callable[[str], str], tmp_path: Path
) -> None:
    body = "def make():\n    return nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3))"
    module = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3))
    torch.save(module.state_dict(), tmp_path / "w.pt")
    source = open_source(as_factory(body), ExportOptions(SHAPE, str(tmp_path / "w.pt")))
    torch.testing.assert_close(source.module.weight, module.weight)


def test_a_module_of_several_inputs() -> None:
    class Sum(nn.Module):
        def forward(self, image: torch.Tensor, age: torch.Tensor) -> torch.Tensor:
            return image.mean((2, 3)) + age

    source = open_source(Sum(), ExportOptions({"age": (1,), "image": SHAPE}))
    assert [spec.name for spec in source.inputs] == ["image", "age"]


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("lenet", {}, r"lenet: pass its weights \(--weights FILE\), or --random"),
        ("lenet", {"random": True, "weights": "w.pt"}, "exclude each other"),
        ("lenett", {"random": True}, "unknown network 'lenett'; did you mean 'lenet'"),
        (
            "torch.nn:Flatten",
            {"random": True},
            "torch.nn:Flatten: the input shape is missing; pass it like --input 3x224x224",
        ),
        ("no.such:thing", {"random": True, "input_shape": SHAPE}, "no"),
        ("gone.py:make", {"random": True, "input_shape": SHAPE}, "gone.py: no such file"),
        ("gone.onnx", {}, "gone.onnx: no such file"),
        ("gone.pt2", {}, "gone.pt2: no such file"),
        ("gone.safetensors", {}, "gone.safetensors: no such file"),
        (nn.Flatten(), {}, "a torch module does not say its input shape"),
        (nn.Flatten(), {"random": True, "input_shape": SHAPE}, "a torch module already has weights"),
    ],
)
def test_refusals(source: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises((UsageError, MissingDependency), match=message):
        open_source(source, ExportOptions(**options))


@pytest.mark.parametrize("parts", [{}, {"module": nn.Flatten(), "graph": object()}])
def test_a_source_has_exactly_one_model(parts: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Source 'x': expected exactly one of module, program and graph"):
        Source("x", (), **parts)
