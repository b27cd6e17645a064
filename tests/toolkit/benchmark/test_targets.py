import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from spec_mutations import sealed, split_spec

from cnntk.benchmark._inputs import batch_inputs
from cnntk.benchmark.compare import compare_interleaved
from cnntk.benchmark.targets import (
    MAX_REL_DIFF,
    Arrays,
    Target,
    _compare_outputs,
    _first_line,
    _rename_inputs,
    open_targets,
)
from cnntk.runtime import Engine
from cnntk.runtime.codec import as_json
from cnntk.runtime.errors import CheckpointError, MissingDependency, UsageError
from cnntk.shipped import shipped_model


def against(name: object, model: Path, batch: int = 4) -> tuple[Target, ...]:
    engine = Engine(model, threads=1)
    with open_targets(str(name), engine, batch_inputs(engine, batch)) as result:
        return result


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
    (result,) = against(foreign_onnx, foreign_onnx)
    assert (result.max_rel_diff, result.top1_agreement, result.same_outputs) == (0, 1, True)
    assert result.note == "same outputs"
    assert as_json(result)["available"]


def test_it_can_be_measured_in_turn(foreign_onnx: Path) -> None:
    engine = Engine(foreign_onnx, threads=1)
    inputs = batch_inputs(engine, 1)
    with open_targets(str(foreign_onnx), engine, inputs) as (result,):
        assert result.call is not None
        comparison = compare_interleaved(result.call, lambda: engine.run(inputs), seconds=0.05, min_pairs=2)
        assert comparison.ratio > 0


def test_inputs_go_by_their_order_where_names_differ(foreign_onnx: Path, tmp_path: Path) -> None:
    (result,) = against(renamed(foreign_onnx, tmp_path / "renamed.onnx"), foreign_onnx)
    assert result.same_outputs


def test_other_answers_are_a_finding(foreign_onnx: Path, tmp_path: Path) -> None:
    (result,) = against(with_weights_times(-1, foreign_onnx, tmp_path / "other.onnx"), foreign_onnx)
    assert result.call is not None
    assert result.max_rel_diff > 0.5
    assert result.top1_agreement < 1
    assert not result.same_outputs
    assert "outputs differ by" in result.note


def test_a_little_apart_is_seen(foreign_onnx: Path, tmp_path: Path) -> None:
    """One column of three off by a hundredth: more than rounding."""
    close = with_weights_times(1.01, foreign_onnx, tmp_path / "close.onnx", slice(2, 3))
    (result,) = against(close, foreign_onnx)
    assert MAX_REL_DIFF < result.max_rel_diff < 0.02


def test_answers_that_are_not_finite_are_apart(foreign_onnx: Path, tmp_path: Path) -> None:
    (result,) = against(with_weights_times(np.nan, foreign_onnx, tmp_path / "nan.onnx"), foreign_onnx)
    assert result.max_rel_diff == float("inf")
    assert not result.same_outputs


def test_answers_of_another_shape_are_reported(foreign_onnx: Path, tmp_path: Path) -> None:
    model = onnx.load(foreign_onnx)
    del model.graph.node[1:], model.graph.output[:], model.graph.initializer[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info("flat", 1, ["N", 16]))
    onnx.save(model, tmp_path / "flat.onnx")
    (result,) = against(tmp_path / "flat.onnx", foreign_onnx)
    assert (result.max_rel_diff, result.same_outputs) == (None, False)
    assert result.note == "no output has the shape of one of the model's"


def test_other_inputs_are_refused(foreign_onnx: Path, batch_of_3: Path) -> None:
    with pytest.raises(UsageError, match=r"those of .*foreign\.onnx: it takes image: uint8 .* not "):
        against(shipped_model(), foreign_onnx)
    with pytest.raises(UsageError, match=r"three\.onnx: the inputs differ"):
        against(batch_of_3, foreign_onnx)


@pytest.mark.parametrize("name", ["tensorflow", "model.pt2", ""])
def test_an_unknown_target(foreign_onnx: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"unknown target .*; use an \.onnx file, torch"):
        against(name, foreign_onnx)


def test_weights_are_for_torch(foreign_onnx: Path) -> None:
    engine = Engine(foreign_onnx)
    with (
        pytest.raises(UsageError, match="apply to torch:SOURCE"),
        open_targets(str(foreign_onnx), engine, batch_inputs(engine, 1), random=True),
    ):
        pass


@pytest.mark.parametrize(
    ("factory", "kwargs", "message"),
    [
        ("evil.pt2", {}, "unknown network 'evil.pt2'"),
        ("os:system", {"command": "touch RAN"}, r"\. It is a os:system\. Name the checkpoint or source"),
        ("lenet", {"num_classes": 10**9}, "would have 85,000,0.* weights, but the file has only"),
    ],
)
def test_an_artifact_names_networks_of_the_zoo_only(
    factory: str,
    kwargs: dict[str, object],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    prefix, spec = split_spec(shipped_model().read_bytes())

    def artifact(network: dict[str, object], seed: str = "1") -> Path:
        changed = {**spec, "network": network, "provenance": {"weights": f"random, seed {seed}"}}
        text = json.dumps({**{k: v for k, v in changed.items() if k != "digest"}, "digest": "0" * 64})
        (tmp_path / "evil.onnx").write_bytes(sealed(prefix, text.encode()))
        return tmp_path / "evil.onnx"

    with pytest.raises((UsageError, CheckpointError), match=message):
        against("torch", artifact({"factory": factory, "kwargs": kwargs}))
    assert not (tmp_path / "RAN").exists()
    lenet: dict[str, object] = {"factory": "lenet", "kwargs": {"image_size": 28}}
    with pytest.raises(UsageError, match="does not name the file of its weights"):
        against("torch", artifact(lenet, seed="9" * 5000))
    eager, _ = against("torch", artifact(lenet))
    assert eager.available


@pytest.mark.parametrize("batch", [1, 3])
def test_openvino_answers_the_same(batch: int) -> None:
    pytest.importorskip("openvino")
    (result,) = against("openvino", shipped_model(), batch)
    assert result.same_outputs
    assert result.name.startswith("openvino 20")
    assert result.note == "computes in float32; same outputs"


def test_without_openvino_it_says_what_to_install(
    foreign_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)  # so that importing it fails
    with pytest.raises(MissingDependency, match="pip install 'openvino'"):
        against("openvino", foreign_onnx)


@pytest.mark.parametrize("shape", [None, []], ids=["unknown", "none"])
def test_a_rank_that_the_file_does_not_tell(shape: list | None, tmp_path: Path) -> None:
    ends = [onnx.helper.make_tensor_value_info(name, 1, shape) for name in ("x", "y")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:])
    opset = onnx.helper.make_opsetid("", 18)
    onnx.save(onnx.helper.make_model(graph, ir_version=10, opset_imports=[opset]), tmp_path / "any.onnx")
    (result,) = against(tmp_path / "any.onnx", tmp_path / "any.onnx", 1)
    assert result.same_outputs


OUTPUTS = {"logits": np.array([[0.0, 4.0], [2.0, 1.0]])}


def answering(answer: Arrays) -> Target:
    return _compare_outputs(Target("other", lambda: answer), OUTPUTS)


@pytest.mark.parametrize(
    ("factor", "alike"), [(1.0, True), (1 + 0.9 * MAX_REL_DIFF, True), (1 + 1.1 * MAX_REL_DIFF, False)]
)
def test_alike_up_to_rounding(factor: float, alike: bool) -> None:
    assert answering({"logits": OUTPUTS["logits"] * factor}).same_outputs is alike


def test_how_far_apart_and_how_many_agree() -> None:
    result = answering({"logits": np.array([[0.0, 4.0], [1.0, 2.0]])})
    assert (result.max_rel_diff, result.top1_agreement) == (0.25, 0.5)
    assert result.note == "outputs differ by 0.25 of the largest; same top-1 for 50% of the inputs"


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_answers_that_are_not_finite_are_not_alike(odd: float) -> None:
    result = answering({"logits": np.array([[0.0, odd], [2.0, 1.0]])})
    assert not result.same_outputs
    assert result.max_rel_diff == float("inf")
    assert as_json(result)["max_rel_diff"] is None
    assert as_json(answering(OUTPUTS))["max_rel_diff"] == 0


def test_another_name_is_compared_with_the_nearest_of_its_shape() -> None:
    assert answering({"other": OUTPUTS["logits"]}).max_rel_diff == 0
    assert answering({"other": OUTPUTS["logits"][:1]}).max_rel_diff is None


def test_who_cannot_be_had_is_left_as_it_is() -> None:
    absent = Target("other", None, "not installed")
    assert _compare_outputs(absent, OUTPUTS) is absent
    assert not as_json(absent)["available"]


def test_inputs_by_name_or_by_order() -> None:
    arrays = {"a": np.zeros(1), "b": np.ones(1)}
    assert list(_rename_inputs(arrays, ["b", "a"], "other")) == ["b", "a"]
    assert _rename_inputs(arrays, ["x", "y"], "other") == {"x": arrays["a"], "y": arrays["b"]}
    with pytest.raises(UsageError, match="other: has 1 inputs, the model 2"):
        _rename_inputs(arrays, ["a"], "other")


def test_the_first_line_that_says_something() -> None:
    assert _first_line(ValueError("\n  what is wrong \nwhere")) == "what is wrong"
    assert _first_line(ValueError()) == "ValueError"
    assert len(_first_line(ValueError("x" * 999))) == 200
