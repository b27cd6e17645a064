import json
from pathlib import Path

from cnntk import inspect


def test_a_foreign_file_is_read_with_onnx(foreign_onnx: Path) -> None:
    found = inspect(foreign_onnx)
    assert [layer.op for layer in found.layers] == ["Flatten", "Gemm", "Softmax"]
    assert found.parameters == 16 * 3 + 3
    assert found.spec is None
    json.dumps(found.to_json())


def test_an_artifact_tells_by_itself(tiny_onnx: Path) -> None:
    found = inspect(tiny_onnx)
    assert found.spec.labels == ("dark", "light", "left")
    assert found.notes == ()
    assert found.size_bytes == tiny_onnx.stat().st_size
