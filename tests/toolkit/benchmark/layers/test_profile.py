from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx.parser
import pytest

from cnntk.benchmark.interleaved import Interleaver, TimedBlock
from cnntk.benchmark.layers import _profile as module
from cnntk.benchmark.layers._profile import (
    CHAIN_LENGTH,
    ExecutedNode,
    Profile,
    ProfilerOverhead,
    chain_turns,
    node_durations_us,
    open_chains,
    profiler_overhead,
    quiet_rounds,
    read_profile,
    run_latencies_us,
)
from cnntk.benchmark.statistics.samples import LatencySamples
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
    profile = profiled(tiny_onnx, tmp_path, inputs, inputs)
    assert [n.op_type for n in profile.nodes] == ["Flatten", "Gemm", "Softmax"]
    assert profile.durations_us.shape == (2, 3)
    flatten, gemm, softmax = profile.nodes
    assert (flatten.inputs, flatten.outputs) == (((3, 1, 4, 4),), ((3, 16),))
    assert flatten.dtypes == ("float",)
    assert gemm.outputs == ((3, 3),)
    assert gemm.data_bytes == 3 * 16 * 4 + 3 * 3 * 4
    assert softmax.tensors == 2


def test_the_nodes_of_a_branch_are_part_of_it(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(BRANCHES).SerializeToString()
    arrays = {"x": X, "which": np.array(True)}
    profile = profiled(model, tmp_path, arrays, arrays)
    assert [n.op_type for n in profile.nodes] == ["Neg", "If", "Tan"]
    assert profile.durations_us.shape == (2, 3)


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
    with pytest.raises(InferenceError, match="executes different nodes"):
        read_profile(edited(tmp_path, kernel("a"), END, kernel("b"), END))


def block(*latencies_ms: float, settling_runs: int = 0) -> TimedBlock:
    count = len(latencies_ms)
    return TimedBlock(
        LatencySamples(np.zeros(count), np.array(latencies_ms, dtype=np.float64)), settling_runs
    )


def test_a_slow_run_does_not_count() -> None:
    latencies_us = run_latencies_us([block(1, 1, 1, 90), block(1, 2, 3), block(5), block(4, 3, 2, 1)])
    assert latencies_us == pytest.approx([1000, 1500, 5000, 1500])


def test_durations_are_those_of_the_runs_that_count() -> None:
    durations = np.array([[7.0, 7], [1, 2], [50, 60], [3, 4], [9, 9], [5, 6], [0, 0]])
    blocks = [block(1, 90, 1.5, settling_runs=1), block(1, settling_runs=1)]
    np.testing.assert_array_equal(node_durations_us(blocks, Profile((), durations)), [[2, 3], [5, 6]])


def test_disturbed_rounds_are_left_out_whichever_session_was_hit() -> None:
    long = [block(100), block(101), block(150), block(100)]
    short = [block(1), block(1.01), block(1), block(3)]
    assert sorted(quiet_rounds({"long": long, "short": short}).tolist()) == [0, 1]


def test_each_further_tensor_costs() -> None:
    nodes = [ExecutedNode("", "", (), ((1,),) * inputs, ((1,),), 0, 0) for inputs in (1, 2, 5)]
    overhead = ProfilerOverhead(np.array([5.0]), np.array([2.0]), np.array([0.25]))
    assert overhead.added_us(nodes).tolist() == [[2, 2.25, 3]]


def test_no_node_of_a_chain_is_optimized_away(tmp_path: Path) -> None:
    for name, chain in open_chains(tmp_path, 1).items():
        if name.startswith("profiled"):
            chain.run(None, {"v0": np.ones((1, 1, 2, 2), np.float32)})
            nodes = read_profile(Path(chain.end_profiling())).nodes
            assert len(nodes) == CHAIN_LENGTH
            assert {node.tensors for node in nodes} == {int(name[-1])}


def test_the_profiler_costs_something(tmp_path: Path) -> None:
    chains = open_chains(tmp_path, 1)
    overhead = profiler_overhead(chains, Interleaver(0.01, 4, 4).run(chain_turns(chains)))
    assert len(overhead.event_us) == 4
    assert np.median(overhead.event_us) > 0.1
    assert overhead.call_us.min() >= 0


def test_overhead_by_arithmetic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call of 5 us and nodes of 1 us; the profiler reports 3 us for 2 tensors and 4 us for 4."""
    chains = dict.fromkeys(("plain 1 x 2", *(f"{p} 16 x {n}" for n in (2, 4) for p in ("plain", "profiled"))))
    assert open_chains(tmp_path, 1).keys() == chains.keys()
    times_us = (6, 5 + CHAIN_LENGTH, 99, 5 + CHAIN_LENGTH, 99)
    blocks = {name: [block(us / 1e3)] for name, us in zip(chains, times_us, strict=True)}
    reported = iter((3.0, 4.0))
    monkeypatch.setattr(
        module, "read_profile", lambda _: Profile((), np.full((1, CHAIN_LENGTH), next(reported)))
    )
    session = SimpleNamespace(end_profiling=lambda: "none")
    overhead = profiler_overhead(dict.fromkeys(chains, session), blocks)
    assert overhead.call_us == pytest.approx(5)
    assert overhead.event_us == pytest.approx(2)
    assert overhead.tensor_us == pytest.approx(0.5)
