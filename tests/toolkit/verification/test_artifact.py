"""An exported file that was changed is found, alone and beside another, and the layer is named."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from torch import nn

from cnntk.exporters.artifact import append_spec, write_hashed
from cnntk.exporters.self_test_vectors import Arrays, self_test_of
from cnntk.runtime.artifact.spec import METADATA_KEY, Layer, ModelSpec, TensorSpec
from cnntk.runtime.codec import as_json
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import UnsupportedArtifact, UsageError
from cnntk.verification.artifact import verify

INPUTS = (TensorSpec("input", "float32", ("N", 3, 8, 8)),)


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 8, 3),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 5),
        )
        for _ in range(10):
            module(torch.randn(16, 3, 8, 8))
        nn.init.uniform_(module[1].weight, 0.5, 1.5)
    return module.eval()


def answers(module: nn.Module, arrays: Arrays) -> Arrays:
    with torch.inference_mode():
        return {"logits": module(torch.from_numpy(arrays["input"])).numpy()}


def export(module: nn.Module, path: Path) -> Path:
    """What the pipeline does, without its proof."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.onnx.export(
            module,
            (torch.zeros(2, 3, 8, 8),),
            dynamo=True,
            input_names=["input"],
            dynamic_shapes=({0: torch.export.Dim("N")},),
            opset_version=18,
            optimize=False,
            verbose=False,
        )
    model = exported.model
    model.ir_version = 10
    model.graph.outputs[0].name = "logits"
    wide = copy.deepcopy(module).double()
    test = self_test_of(
        lambda x: answers(wide, {"input": x["input"].astype(np.float64)}),
        lambda x: answers(module, x),
        specs=INPUTS,
    )
    spec = ModelSpec("net", tuple("abcde"), INPUTS, layers=tuple(rows(model)), self_test=test)
    append_spec(path, spec, write_hashed(model, path))
    return path


def rows(model: ir.Model) -> Iterator[Layer]:
    """Layers by the module that holds their weights: ``0``, ``1``, ``4``, ``8``."""
    for node in model.graph:
        weights = [v.name.split(".")[0] for v in node.inputs if v is not None and v.name and "." in v.name]
        yield Layer(weights[0] if weights else node.op_type.lower(), node.op_type, (), 0, 0)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(network(), tmp_path_factory.mktemp("export") / "net.onnx")


Change = Callable[[np.ndarray], None]


def one_percent(values: np.ndarray) -> None:
    values.reshape(-1)[np.abs(values).argmax()] *= np.float32(1.01)


def a_small_one(values: np.ndarray) -> None:
    """By 1 %, so small that no answer tells."""
    values.reshape(-1)[np.abs(values).argmin()] *= np.float32(1.01)


def swap(values: np.ndarray) -> None:
    values[[0, 2]] = values[[2, 0]]


def shift(values: np.ndarray) -> None:
    values[1] += np.float32(0.01)


FAULTS = [
    ("0.weight", one_percent, "0"),
    ("0.weight", swap, "0"),
    ("0.bias", shift, "0"),
    ("1.weight", swap, "1"),
    ("4.weight", one_percent, "4"),
    ("4.weight", swap, "4"),
    ("4.bias", shift, "4"),
    ("8.weight", one_percent, "8"),
    ("8.weight", swap, "8"),
    ("8.bias", shift, "8"),
]
IDS = [f"{tensor}-{change.__name__}" for tensor, change, _ in FAULTS]


def faulty(artifact: Path, path: Path, tensor: str, change: Change, *, sealed: bool) -> Path:
    """The artifact with other weights; sealed again, or with the old digest."""
    data = artifact.read_bytes()
    weights = onnx.load(artifact)
    raw = next(t for t in weights.graph.initializer if t.name == tensor)
    values = onnx.numpy_helper.to_array(raw).copy()
    change(values)
    assert data.count(raw.raw_data) == 1
    changed = data.replace(raw.raw_data, values.tobytes())
    assert changed != data
    path.write_bytes(resealed(changed) if sealed else changed)
    return path


def resealed(data: bytes) -> bytes:
    import hashlib

    return data[:-66] + hashlib.sha256(data[:-66] + b"0" * 64 + b'"}').hexdigest().encode() + b'"}'


def test_a_sound_file_holds(artifact: Path) -> None:
    result = verify(artifact)
    assert result.holds
    assert (result.digest, result.changed, result.damage) == ("holds", (), None)
    assert result.fingerprints > 8
    assert result.self_test.holds
    json.dumps(as_json(result), allow_nan=False)


@pytest.mark.parametrize(("tensor", "change", "layer"), FAULTS, ids=IDS)
def test_a_fault_behind_a_new_digest_is_detected_alone(
    artifact: Path, tmp_path: Path, tensor: str, change: Change, layer: str
) -> None:
    path = faulty(artifact, tmp_path / "f.onnx", tensor, change, sealed=True)
    assert Engine(path).spec is not None
    result = verify(path)
    assert not result.holds
    assert result.digest == "holds"
    assert [(c.tensor, c.layer) for c in result.changed] == [(tensor, layer)]
    assert not result.self_test.holds


@pytest.mark.parametrize(("tensor", "change", "layer"), FAULTS, ids=IDS)
def test_a_fault_behind_a_new_digest_is_detected_by_comparison(
    artifact: Path, tmp_path: Path, tensor: str, change: Change, layer: str
) -> None:
    path = faulty(artifact, tmp_path / "f.onnx", tensor, change, sealed=True)
    for model, other in ((path, artifact), (artifact, path)):
        comparison = verify(model, other).comparison
        assert not comparison.holds
        assert not all(check.holds for check in comparison.outputs)
        assert comparison.first_difference.layer == layer
        assert [w.tensor for w in comparison.first_difference.weights] == [tensor]
        json.dumps(as_json(comparison), allow_nan=False)


def test_a_fault_that_no_answer_shows_is_detected_all_the_same(artifact: Path, tmp_path: Path) -> None:
    path = faulty(artifact, tmp_path / "f.onnx", "4.weight", a_small_one, sealed=True)
    alone, beside = verify(path), verify(artifact, path)
    assert alone.self_test.holds
    assert not alone.holds
    assert alone.changed[0].layer == "4"
    assert all(check.holds for check in beside.comparison.outputs)
    assert not beside.holds
    assert beside.comparison.first_difference.layer == "4"


def test_damage_is_named_and_not_run(artifact: Path, tmp_path: Path) -> None:
    path = faulty(artifact, tmp_path / "f.onnx", "4.weight", one_percent, sealed=False)
    for result in (verify(path), verify(path, artifact)):
        assert not result.holds
        assert (result.digest, result.self_test, result.comparison) == ("differs", None, None)
        assert [c.layer for c in result.changed] == ["4"]
        assert "was not run" in result.notes[0]


def test_another_attribute_is_a_change_of_the_graph(artifact: Path, tmp_path: Path) -> None:
    data = artifact.read_bytes()
    path = tmp_path / "f.onnx"
    at = data.index(b"strides")
    path.write_bytes(resealed(data[:at] + data[at:].replace(b"\x40\x01", b"\x40\x02", 1)))
    result = verify(path)
    assert not result.holds
    assert [str(c) for c in result.changed] == ["the graph itself: its nodes, attributes, inputs or outputs"]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_torn_files_are_damaged(artifact: Path, tmp_path: Path, share: float) -> None:
    path = tmp_path / "torn.onnx"
    data = artifact.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    result = verify(path)
    assert not result.holds
    assert "damaged" in result.damage


def test_every_flipped_byte_of_the_spec_is_damage(artifact: Path, tmp_path: Path) -> None:
    data, path = artifact.read_bytes(), tmp_path / "flipped.onnx"
    start = data.index(b'{"spec"') - 20
    for at in range(start, len(data), 37):
        path.write_bytes(data[:at] + bytes((data[at] ^ 0x01,)) + data[at + 1 :])
        assert not verify(path).holds


def test_files_with_nothing_to_check_by(foreign_onnx: Path, tiny_onnx: Path, tmp_path: Path) -> None:
    for path in (foreign_onnx, tiny_onnx):
        with pytest.raises(UnsupportedArtifact, match=r"no self-test, fingerprints or digest.*--against"):
            verify(path)
    with pytest.raises(UsageError, match="no such file"):
        verify(tmp_path / "gone.onnx")


def test_foreign_files_are_compared(foreign_onnx: Path, tmp_path: Path) -> None:
    result = verify(foreign_onnx, foreign_onnx)
    assert result.holds
    assert result.digest == "none"
    model = onnx.load(foreign_onnx)
    weight = model.graph.initializer[0]
    weight.raw_data = (onnx.numpy_helper.to_array(weight) * np.float32(1.001)).tobytes()
    onnx.save(model, tmp_path / "other.onnx")
    result = verify(foreign_onnx, tmp_path / "other.onnx")
    assert not result.holds
    assert result.comparison.first_difference.op == "Gemm"
    assert result.comparison.first_difference.weights[0].tensor == "weight"


def test_names_may_differ(foreign_onnx: Path, tmp_path: Path) -> None:
    model = onnx.load(foreign_onnx)
    renames = {"input": "pixels", "logits": "scores", "probabilities": "p"}
    for value in (*model.graph.input, *model.graph.output):
        value.name = renames[value.name]
    for node in model.graph.node:
        node.input[:] = [renames.get(n, n) for n in node.input]
        node.output[:] = [renames.get(n, n) for n in node.output]
    onnx.save(model, tmp_path / "other.onnx")
    assert verify(foreign_onnx, tmp_path / "other.onnx").holds


def test_other_inputs_are_refused(foreign_onnx: Path, artifact: Path) -> None:
    with pytest.raises(UsageError, match=r"its inputs differ from those of .*input: float32 \[N, 3, 8, 8\]"):
        verify(foreign_onnx, artifact)


def test_nan_never_holds(foreign_onnx: Path, tmp_path: Path) -> None:
    model = onnx.load(foreign_onnx)
    bias = next(t for t in model.graph.initializer if t.name == "bias")
    bias.raw_data = np.array([np.nan, 0, 0], np.float32).tobytes()
    onnx.save(model, tmp_path / "nan.onnx")
    result = verify(tmp_path / "nan.onnx", tmp_path / "nan.onnx")
    assert not result.holds
    json.dumps(as_json(result), allow_nan=False)


def test_a_self_test_that_contradicts_the_weights_fails(artifact: Path, tmp_path: Path) -> None:
    """As where a device computes something else: fingerprints hold, answers don't."""
    path = tmp_path / "f.onnx"
    spec = Engine(artifact).spec
    case = spec.self_test.cases[0]
    first, _, rest = case.expected["logits"].partition(" ")
    other = replace(case, expected={**case.expected, "logits": f"{float(first) + 1} {rest}"})
    model = ir.load(artifact)
    del model.metadata_props[METADATA_KEY]
    wrong = replace(spec, self_test=replace(spec.self_test, cases=(other,)))
    append_spec(path, wrong, write_hashed(model, path))
    result = verify(path)
    assert not result.holds
    assert not result.self_test.holds
    assert result.self_test.worst[0].error == pytest.approx(1)


def test_alone_needs_neither_torch_nor_onnx(artifact: Path) -> None:
    code = f"""
import sys
from cnntk.cli.verify import verify
status = verify.main([{str(artifact)!r}], standalone_mode=False)
heavy = [m for m in ('torch', 'onnx', 'onnx_ir', 'onnxscript', 'rich') if m in sys.modules]
print(status, heavy)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "0 []"


def test_an_artifact_is_compared_with_its_torch_source(tmp_path: Path) -> None:
    """The source is exported again; weights of a random one come from the seed, so both are the same."""
    from cnntk.exporters import export as export_source

    source = tmp_path / "mine.py"
    source.write_text(
        "from torch import nn\n\ndef make():\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))\n"
    )
    path = tmp_path / "mine.onnx"
    export_source(f"{source}:make", path, input_shape=(3, 8, 8), random=True)
    assert verify(path).holds
    result = verify(path, f"{source}:make", random=True)
    assert result.comparison.holds
    assert result.holds
    wrong = faulty(path, tmp_path / "f.onnx", "0.weight", swap, sealed=True)
    result = verify(wrong, f"{source}:make", random=True)
    assert not result.holds
    assert result.comparison.first_difference.layer == "0"


def test_which_weights_a_source_was_compared_with(tmp_path: Path) -> None:
    """A checkpoint with weights, and their moving average behind a prefix."""
    from torch import nn

    from cnntk.exporters import export as export_source

    source, weights, path = (tmp_path / name for name in ("mine.py", "run.pth", "mine.onnx"))
    text = "nn.Sequential(nn.Flatten(), nn.Linear(192, 5))"
    source.write_text(f"from torch import nn\n\ndef make():\n    return {text}\n")
    states = [nn.Sequential(nn.Flatten(), nn.Linear(192, 5)).state_dict() for _ in range(2)]
    averaged = {f"module.{name}": value for name, value in states[1].items()}
    torch.save({"model": states[0], "ema": averaged}, weights)
    export_source(f"{source}:make", path, input_shape=(3, 8, 8), weights=str(weights))
    result = verify(path, f"{source}:make", weights=str(weights))
    assert result.holds
    (note,) = result.notes
    assert note.startswith("weights of run.pth: those under 'ema', a moving average; the prefix 'module.' is")
    result = verify(path, f"{source}:make", weights=f"{weights}#model")
    assert not result.holds
    assert result.notes == ("weights of run.pth: those under 'model'",)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_a_cast_artifact_is_compared_with_its_source_cast_the_same(tmp_path: Path, dtype: str) -> None:
    from cnntk.exporters import export as export_source

    source = tmp_path / "mine.py"
    source.write_text(
        "import torch\nfrom torch import nn\n\ndef make():\n"
        "    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))\n"
        f"    return net.to(torch.{'float32' if dtype == 'float16' else dtype})\n"
    )
    path = tmp_path / "mine.onnx"
    requested = "float16" if dtype == "float16" else "auto"
    export_source(f"{source}:make", path, input_shape=(3, 8, 8), random=True, dtype=requested)
    assert verify(path, f"{source}:make", random=True).holds
    wrong = faulty(path, tmp_path / "f.onnx", "0.weight", swap, sealed=True)
    result = verify(wrong, f"{source}:make", random=True)
    assert not result.comparison.holds
    assert result.comparison.first_difference.layer == "0"
