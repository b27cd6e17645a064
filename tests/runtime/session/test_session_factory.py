"""Sessions of unusual files, and weights that processes share."""

import logging
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import InputError, UnsupportedArtifact, UsageError
from cnntk.runtime.session.devices import import_onnxruntime
from cnntk.runtime.session.session_factory import onnxruntime_errors

IMAGES = np.random.default_rng(0).random((2, 3, 8, 8), dtype=np.float32)


def mapped(file: Path) -> list[str]:
    """How the file is in this process' memory, as the system tells it."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return [line.split()[1] for line in lines if line.endswith(str(file))]


def test_shared_weights_are_mapped_and_nothing_is_written_back(pair: Path) -> None:
    data = pair.parent / Engine(pair).spec.data.file
    expected = Engine(pair).run({"input": IMAGES})["logits"]
    engine = Engine(pair, share_weights=True)
    assert mapped(data)
    assert all(mode.endswith("p") for mode in mapped(data))
    np.testing.assert_allclose(engine.run({"input": IMAGES})["logits"], expected, atol=1e-6)
    assert engine.self_test().holds
    options = engine._session.get_session_options()
    assert options.get_session_config_entry("session.disable_prepacking") == "1"


def test_in_a_cache_they_stay_packed(pair: Path, tmp_path: Path) -> None:
    expected = Engine(pair).run({"input": IMAGES})["logits"]
    for _ in range(2):
        engine = Engine(pair, share_weights=True, cache=tmp_path / "cache")
        (data,) = (tmp_path / "cache").glob("*/model.data")
        assert mapped(data)
        assert np.array_equal(engine.run({"input": IMAGES})["logits"], expected)


def test_weights_inside_the_file_are_not_shared(sealed_onnx: Path) -> None:
    with pytest.raises(UsageError, match=r"sealed\.onnx: its weights are inside the file.*--external-data"):
        Engine(sealed_onnx, share_weights=True)


def test_files_without_a_digest_are_logged(
    foreign_onnx: Path, sealed_onnx: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="cnntk.runtime"):
        Engine(sealed_onnx)
        assert caplog.text == ""
        Engine(foreign_onnx)
    assert f"{foreign_onnx}: has no digest, so damage can't be detected" in caplog.text


def test_open_dimensions_without_a_name_are_not_equal(tmp_path: Path) -> None:
    """onnxruntime calls each of them None."""
    value = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    graph = onnx.helper.make_graph(
        [node], "g", [value("x", 1, [-1, 3, None, None])], [value("y", 1, [None, 3, None, None])]
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    engine = Engine(model.SerializeToString())
    assert engine.inputs[0].shape == ("x_0", 3, "x_2", "x_3")
    assert engine.run({"x": np.zeros((2, 3, 4, 5), np.float32)})["y"].shape == (2, 3, 4, 5)
    with pytest.raises(InputError, match=r"expected x: float32 \[x_0, 3, x_2, x_3\]"):
        engine.run({"x": np.zeros((2, 4, 4, 5), np.float32)})


@pytest.mark.parametrize("is_external", [False, True])
def test_two_nodes_of_one_name(foreign_onnx: Path, is_external: bool) -> None:
    model = onnx.load(foreign_onnx)
    expected = Engine(foreign_onnx).run({"input": np.ones((2, 1, 4, 4), np.float32)})
    for node in model.graph.node:
        node.name = "same"
    onnx.save(model, foreign_onnx, save_as_external_data=is_external, location="w", size_threshold=0)
    with pytest.raises(onnxruntime_errors(), match="two nodes with same node name"):
        import_onnxruntime().InferenceSession(str(foreign_onnx))
    actual = Engine(foreign_onnx).run({"input": np.ones((2, 1, 4, 4), np.float32)})
    np.testing.assert_array_equal(actual["logits"], expected["logits"])


def test_an_operator_of_another_library_is_named(tmp_path: Path) -> None:
    head = '<ir_version: 8, opset_import: ["" : 17, "mine" : 1]>'
    body = "g (float[N] x) => (float[N] y) { y = mine.Twice (x) }"
    model = onnx.parser.parse_model(f"{head}\n{body}").SerializeToString()
    with pytest.raises(UnsupportedArtifact, match=r"has the operator mine:Twice, which onnxruntime .* lacks"):
        Engine(model)
