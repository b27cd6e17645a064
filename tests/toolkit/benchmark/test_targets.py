import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from cnntk.benchmark.compare import compare_interleaved
from cnntk.benchmark.inputs import batch_inputs
from cnntk.benchmark.opponent import ALIKE, Opponent
from cnntk.benchmark.targets import opponents
from cnntk.runtime import Engine
from cnntk.runtime.errors import MissingDependency, UsageError
from cnntk.shipped import shipped_model


def against(name: object, model: Path, batch: int = 4) -> tuple[Opponent, ...]:
    engine = Engine(model, threads=1)
    with opponents(str(name), engine, batch_inputs(engine, batch)) as found:
        return found


def renamed(model: Path, to: Path) -> Path:
    """The same model, its input under another name."""
    graph = onnx.load(model)
    graph.graph.input[0].name = graph.graph.node[0].input[0] = "other"
    onnx.save(graph, to)
    return to


def with_weights_times(factor: float, model: Path, to: Path, changed: slice = slice(None)) -> Path:
    graph = onnx.load(model)
    weight = next(w for w in graph.graph.initializer if w.name == "weight")
    values = onnx.numpy_helper.to_array(weight).copy()
    values[:, changed] *= factor
    weight.CopyFrom(onnx.numpy_helper.from_array(values, "weight"))
    onnx.save(graph, to)
    return to


def test_the_same_file_answers_the_same(foreign_onnx: Path) -> None:
    (found,) = against(foreign_onnx, foreign_onnx)
    assert (found.apart, found.agree, found.alike) == (0, 1, True)
    assert found.note == "answers the same"
    assert found.to_json()["runs"]


def test_it_can_be_measured_in_turn(foreign_onnx: Path) -> None:
    engine = Engine(foreign_onnx, threads=1)
    inputs = batch_inputs(engine, 1)
    with opponents(str(foreign_onnx), engine, inputs) as (found,):
        assert found.call is not None
        assert (
            compare_interleaved(found.call, lambda: engine.run(inputs), seconds=0.05, min_pairs=2).ratio > 0
        )


def test_inputs_go_by_their_order_where_names_differ(foreign_onnx: Path, tmp_path: Path) -> None:
    (found,) = against(renamed(foreign_onnx, tmp_path / "renamed.onnx"), foreign_onnx)
    assert found.alike


def test_other_answers_are_a_finding(foreign_onnx: Path, tmp_path: Path) -> None:
    (found,) = against(with_weights_times(-1, foreign_onnx, tmp_path / "other.onnx"), foreign_onnx)
    assert found.call is not None
    assert found.apart > 0.5
    assert found.agree < 1
    assert not found.alike
    assert "answers differ by" in found.note


def test_a_little_apart_is_seen(foreign_onnx: Path, tmp_path: Path) -> None:
    """One column of three off by a hundredth: more than rounding."""
    close = with_weights_times(1.01, foreign_onnx, tmp_path / "close.onnx", slice(2, 3))
    (found,) = against(close, foreign_onnx)
    assert ALIKE < found.apart < 0.02


def test_answers_that_are_not_finite_are_apart(foreign_onnx: Path, tmp_path: Path) -> None:
    (found,) = against(with_weights_times(np.nan, foreign_onnx, tmp_path / "nan.onnx"), foreign_onnx)
    assert found.apart == float("inf")
    assert not found.alike


def test_answers_of_another_shape_are_told(foreign_onnx: Path, tmp_path: Path) -> None:
    model = onnx.load(foreign_onnx)
    del model.graph.node[1:], model.graph.output[:], model.graph.initializer[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info("flat", 1, ["N", 16]))
    onnx.save(model, tmp_path / "flat.onnx")
    (found,) = against(tmp_path / "flat.onnx", foreign_onnx)
    assert (found.apart, found.alike) == (None, False)
    assert found.note == "no answer of it has the shape of ours"


def test_other_inputs_are_refused(foreign_onnx: Path, batch_of_3: Path) -> None:
    with pytest.raises(UsageError, match=r"takes other inputs than .*foreign\.onnx: .*uint8"):
        against(shipped_model(), foreign_onnx)
    with pytest.raises(UsageError, match=r"three\.onnx: takes other inputs"):
        against(batch_of_3, foreign_onnx)


@pytest.mark.parametrize("name", ["tensorflow", "model.pt2", ""])
def test_nobody_of_that_name(foreign_onnx: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"nobody to measure against; name an \.onnx file, torch"):
        against(name, foreign_onnx)


def test_weights_are_for_torch(foreign_onnx: Path) -> None:
    engine = Engine(foreign_onnx)
    with (
        pytest.raises(UsageError, match="are for torch:SOURCE"),
        opponents(str(foreign_onnx), engine, batch_inputs(engine, 1), random=True),
    ):
        pass


@pytest.mark.parametrize("batch", [1, 3])
def test_openvino_answers_the_same(batch: int) -> None:
    pytest.importorskip("openvino")
    (found,) = against("openvino", shipped_model(), batch)
    assert found.alike
    assert found.name.startswith("openvino 20")
    assert found.note == "computes in float32; answers the same"


def test_without_openvino_it_says_what_to_install(
    foreign_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)  # so that importing it fails
    with pytest.raises(MissingDependency, match="pip install openvino"):
        against("openvino", foreign_onnx)


@pytest.mark.parametrize("shape", [None, []], ids=["unknown", "none"])
def test_a_rank_that_the_file_does_not_tell(shape: list | None, tmp_path: Path) -> None:
    ends = [onnx.helper.make_tensor_value_info(name, 1, shape) for name in ("x", "y")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:])
    opset = onnx.helper.make_opsetid("", 18)
    onnx.save(onnx.helper.make_model(graph, ir_version=10, opset_imports=[opset]), tmp_path / "any.onnx")
    (found,) = against(tmp_path / "any.onnx", tmp_path / "any.onnx", 1)
    assert found.alike
