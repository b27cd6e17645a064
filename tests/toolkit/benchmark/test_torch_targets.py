import json
import sys
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
import torch

from cnntk.benchmark._inputs import batch_inputs
from cnntk.benchmark.targets import Target, open_targets
from cnntk.exporters import export
from cnntk.models.factory import construct
from cnntk.runtime import Engine
from cnntk.runtime.codec import as_json
from cnntk.runtime.errors import MissingDependency, UsageError
from cnntk.shipped import shipped_checkpoint, shipped_model

FACTORY = """
from torch import nn

def net():
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 3))

def other():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
"""


@pytest.fixture
def no_compiler() -> Iterator[None]:
    """As on a machine without g++, which also saves the seconds that compiling takes."""
    torch._dynamo.reset()
    with torch._inductor.config.patch({"cpp.cxx": (None, "no-such-compiler"), "fx_graph_cache": False}):
        yield


@pytest.fixture(scope="module")
def factory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("nets") / "small_net.py"
    path.write_text(FACTORY)
    return path


@pytest.fixture(scope="module")
def weights(factory: Path) -> Path:
    path = factory.with_name("mine.pt")
    torch.save(construct(f"{factory}:net", {}).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def small_onnx(factory: Path, weights: Path) -> Path:
    path = factory.with_name("small.onnx")
    export(f"{factory}:net", path, input_shape=(1, 4, 4), weights=str(weights), preprocess="none")
    return path


def against(name: str, model: Path, threads: int = 1, **options: object) -> tuple[Target, ...]:
    engine = Engine(model, threads=threads)
    with open_targets(name, engine, batch_inputs(engine, 2), **options) as result:
        return result


@pytest.mark.usefixtures("no_compiler")
@pytest.mark.parametrize("name", ["torch", f"torch:{shipped_checkpoint()}"])
def test_the_shipped_model_has_a_checkpoint(name: str) -> None:
    eager, compiled = against(name, shipped_model())
    assert eager.same_outputs
    assert "preprocesses the images too" in eager.note
    assert (compiled.name, compiled.call) == ("torch, compiled", None)
    assert compiled.note == "torch.compile needs a C++ compiler, and none is installed; install one, like g++"
    assert not as_json(compiled)["available"]


@pytest.mark.slow
def test_compiled_answers_the_same() -> None:
    eager, compiled = against("torch", shipped_model())
    assert eager.same_outputs
    assert compiled.same_outputs
    assert compiled.call is not None


@pytest.mark.usefixtures("no_compiler")
def test_threads_are_equal_and_restored() -> None:
    engine, before = Engine(shipped_model(), threads=3), torch.get_num_threads()
    with open_targets("torch", engine, batch_inputs(engine, 1)):
        assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == before
    with (
        pytest.raises(RuntimeError, match="mine"),
        open_targets("torch", engine, batch_inputs(engine, 1)),
    ):
        raise RuntimeError("mine")
    assert torch.get_num_threads() == before


@pytest.mark.usefixtures("no_compiler")
def test_random_weights_are_reproduced_by_their_seed(tmp_path: Path) -> None:
    file = tmp_path / "random.onnx"
    export("lenet", file, random=True, seed=7)
    eager, _ = against("torch", file)
    assert eager.same_outputs


@pytest.mark.usefixtures("no_compiler")
def test_a_factory_is_named_as_for_verify(factory: Path, weights: Path, small_onnx: Path) -> None:
    eager, _ = against(f"torch:{factory}:net", small_onnx, weights=str(weights))
    assert eager.same_outputs
    assert eager.note == f"torch {torch.__version__}; same outputs"


@pytest.mark.usefixtures("no_compiler")
def test_the_choice_of_weights_is_noted(
    factory: Path, weights: Path, small_onnx: Path, tmp_path: Path
) -> None:
    state = torch.load(weights)
    run = tmp_path / "run.pt"
    torch.save({"ema": {f"module.{k}": v for k, v in state.items()}, "epoch": 3}, run)
    eager, compiled = against(f"torch:{factory}:net", small_onnx, weights=str(run))
    assert eager.same_outputs
    assert eager.note.startswith(
        "weights of run.pt: those under 'ema', a moving average; the prefix 'module.'"
    )
    assert "weights" not in compiled.note


@pytest.mark.usefixtures("no_compiler")
def test_other_weights_are_a_finding(factory: Path, small_onnx: Path) -> None:
    eager, _ = against(f"torch:{factory}:net", small_onnx, random=True)
    assert eager.call is not None
    assert "outputs differ by" in eager.note


def test_other_inputs_are_refused(factory: Path, small_onnx: Path) -> None:
    with pytest.raises(UsageError, match=r"the inputs differ from those of .*small\.onnx: mat1 and mat2"):
        against(f"torch:{factory}:other", small_onnx, random=True)


def test_unknown_weights_have_to_be_named(foreign_onnx: Path) -> None:
    with pytest.raises(UsageError, match=r"does not name the file of its weights\. Name .*torch:SOURCE"):
        against("torch", foreign_onnx)


def test_a_network_without_its_weights_is_reported(tiny_onnx: Path) -> None:
    model = onnx.load(tiny_onnx)
    entry = model.metadata_props[0]
    network = {"factory": "lenet", "kwargs": {}}
    entry.value = json.dumps(
        {**json.loads(entry.value), "network": network, "provenance": {"weights": "a.pt"}}
    )
    onnx.save(model, tiny_onnx)
    with pytest.raises(UsageError, match=r"It is a lenet\. Name the checkpoint or source"):
        against("torch", tiny_onnx)


def test_an_onnx_file_is_no_torch(foreign_onnx: Path) -> None:
    with pytest.raises(UsageError, match="is an ONNX file; name it without torch:"):
        against(f"torch:{foreign_onnx}", foreign_onnx)


def test_without_torch_it_says_what_to_install(foreign_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependency, match=r"torch, which is not installed: .*'cnntk\[export\]'"):
        against("torch", foreign_onnx)


def test_weights_need_a_source(foreign_onnx: Path) -> None:
    with pytest.raises(UsageError, match="name the source"):
        against("torch", foreign_onnx, random=True)
