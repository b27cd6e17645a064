from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx.parser
import pytest

from cnntk.benchmark.layers.profile import Profile, read_profile
from cnntk.runtime.errors import InferenceError
from cnntk.runtime.session.devices import resolve_device
from cnntk.runtime.session.session_factory import open_session

BRANCHES = """
<ir_version: 10, opset_import: ["" : 18]>
branches (float[2] x, bool which) => (float[2] y) {
    a = Neg (x)
    b = If (which) <
        then_branch = then () => (float[2] t) { u = Sin (a)  t = Cos (u) },
        else_branch = other () => (float[2] e) { e = Exp (a) }
    >
    y = Tan (b)
}
"""
X = np.ones(2, np.float32)


def profiled(model: bytes | Path, folder: Path, *inputs: dict[str, np.ndarray]) -> Profile:
    session = open_session(model, resolve_device("cpu"), profile=str(folder / "profile")).session
    for arrays in inputs:
        session.run(None, arrays)
    return read_profile(Path(session.end_profiling()))


def test_nodes_with_what_they_read_and_wrote(tiny_onnx: Path, tmp_path: Path) -> None:
    inputs = {"input": np.zeros((3, 1, 4, 4), np.float32)}
    found = profiled(tiny_onnx, tmp_path, inputs, inputs)
    assert [n.op for n in found.nodes] == ["Flatten", "Gemm", "Softmax"]
    assert found.durations_us.shape == (2, 3)
    flatten, gemm, softmax = found.nodes
    assert (flatten.inputs, flatten.outputs) == (((3, 1, 4, 4),), ((3, 16),))
    assert flatten.dtypes == ("float",)
    assert gemm.outputs == ((3, 3),)
    assert gemm.data_bytes == 3 * 16 * 4 + 3 * 3 * 4
    assert softmax.tensors == 2


def test_the_nodes_of_a_branch_are_part_of_it(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(BRANCHES).SerializeToString()
    taken = {"x": X, "which": np.array(True)}
    found = profiled(model, tmp_path, taken, taken)
    assert [n.op for n in found.nodes] == ["Neg", "If", "Tan"]
    assert found.durations_us.shape == (2, 3)


def edited(tmp_path: Path, *events: dict[str, object]) -> Path:
    path = tmp_path / "edited.json"
    path.write_text(json.dumps(events))
    return path


def kernel(name: str) -> dict[str, object]:
    args = {"op_name": "Relu", "input_type_shape": [], "output_type_shape": []}
    sizes = {"activation_size": "8", "output_size": "8", "parameter_size": "0"}
    return {"cat": "Node", "name": f"{name}_kernel_time", "ts": 0, "dur": 1, "args": args | sizes}


END = {"cat": "Session", "name": "model_run", "ts": 0, "dur": 2, "args": {}}


def test_a_profile_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(InferenceError, match="holds no run"):
        read_profile(edited(tmp_path, kernel("a")))


def test_runs_that_went_different_ways(tmp_path: Path) -> None:
    assert len(read_profile(edited(tmp_path, kernel("a"), END, kernel("a"), END)).durations_us) == 2
    with pytest.raises(InferenceError, match="another way"):
        read_profile(edited(tmp_path, kernel("a"), END, kernel("b"), END))
