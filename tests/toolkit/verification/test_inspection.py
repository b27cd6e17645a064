import json
from dataclasses import replace
from pathlib import Path

import pytest

from cnntk import inspect
from cnntk.runtime.artifact.spec import METADATA_KEY, ModelSpec


@pytest.fixture
def proven_onnx(tiny_onnx: Path) -> Path:
    """An artifact whose spec holds what the export found out about its build."""
    import onnx

    model = onnx.load(tiny_onnx)
    (entry,) = (p for p in model.metadata_props if p.key == METADATA_KEY)
    spec = ModelSpec.from_json(entry.value, "tiny")
    found = {"warnings": ["flat: odd"], "peak_activation_bytes": 128, "peak_layer": "flat", "later": 1}
    entry.value = replace(spec, check_results={"graph_lint": found}).to_json()
    onnx.save(model, tiny_onnx)
    return tiny_onnx


def test_a_foreign_file_is_read_with_onnx(foreign_onnx: Path) -> None:
    found = inspect(foreign_onnx)
    assert [layer.op for layer in found.layers] == ["Flatten", "Gemm", "Softmax"]
    assert found.parameters == 16 * 3 + 3
    assert found.multiply_adds == 16 * 3
    assert found.peak_activation_bytes == 64 + 3 * 4
    assert found.warnings == ()
    assert found.spec is None
    json.dumps(found.to_json())


def test_an_artifact_tells_by_itself(tiny_onnx: Path) -> None:
    found = inspect(tiny_onnx)
    assert found.spec.labels == ("dark", "light", "left")
    assert found.notes == ()
    assert found.size_bytes == tiny_onnx.stat().st_size
    assert (found.warnings, found.peak_activation_bytes) == ((), None)


def test_what_the_export_found_is_read_from_the_spec(proven_onnx: Path) -> None:
    found = inspect(proven_onnx)
    assert found.warnings == ("flat: odd",)
    assert found.peak_activation_bytes == 128
    json.dumps(found.to_json())
