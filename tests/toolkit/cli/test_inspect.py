from collections.abc import Callable
from pathlib import Path


def test_the_shipped_lenet(cnntk: Callable) -> None:
    done = cnntk("inspect")
    assert done.status == 0
    for word in ("Nx1x28x28", "416,520", "invert light-background", "Softmax", "parity of logits", "61,706"):
        assert word in done.out


def test_json_equals_the_spec(cnntk: Callable) -> None:
    found = cnntk("inspect", "--json").json
    assert found["parameters"] == sum(layer["parameters"] for layer in found["layers"]) == 61_706
    assert found["spec"]["preprocessing"]["invert"] == "light-background"


def test_a_foreign_file(cnntk: Callable, foreign_onnx: Path) -> None:
    done = cnntk("inspect", foreign_onnx)
    assert done.status == 0
    assert "Gemm" in done.out
    assert "not made by cnntk" in done.err
