from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from made_up_gpu import HostStream
from numpy.typing import NDArray

from cnntk.benchmark.cuda.runs import PARTS, BoundRun
from cnntk.runtime import Engine
from cnntk.runtime.errors import InferenceError
from cnntk.runtime.session.devices import resolve_device
from cnntk.runtime.session.session_factory import open_session

IMAGES = np.random.default_rng(0).random((3, 1, 4, 4), dtype=np.float32)


class NoCopies(HostStream):
    """The negative control: what is copied to the device never comes there."""

    def to_device(self, address: int, array: NDArray[Any]) -> None:
        """Lost."""


@pytest.fixture
def bound(tiny_onnx: Path) -> Callable[..., BoundRun]:
    device = resolve_device("cpu")

    def made(stream: HostStream | None = None) -> BoundRun:
        inputs = {"input": IMAGES.copy()}
        return BoundRun(open_session(tiny_onnx, device), device, stream or HostStream(), inputs)

    return made


def test_answers_are_the_engines(bound: Callable[..., BoundRun], tiny_onnx: Path) -> None:
    run = bound()
    engine = Engine(tiny_onnx)
    for images in (IMAGES, -IMAGES, IMAGES[::-1]):
        run.inputs["input"][...] = images
        run()
        expected = engine.run({"input": images})
        assert set(run.outputs) == set(expected)
        for name, answer in expected.items():
            np.testing.assert_array_equal(run.outputs[name], answer)


def test_without_the_copy_answers_are_old(bound: Callable[..., BoundRun]) -> None:
    run = bound(NoCopies())
    before = {name: array.copy() for name, array in run.outputs.items()}
    run.inputs["input"][...] = -IMAGES
    run()
    for name, array in before.items():
        np.testing.assert_array_equal(run.outputs[name], array)


def test_each_run_is_a_row(bound: Callable[..., BoundRun]) -> None:
    run = bound()
    for _ in range(3):
        run()
    run.forget()
    for _ in range(5):
        run()
    times = run.times_ms()
    assert tuple(times) == PARTS
    assert {len(values) for values in times.values()} == {5}
    assert all((values >= 0).all() for values in times.values())
    assert (times["host"] <= times["whole"]).all()
    assert (times["host"] <= times["device"]).all()  # on this stream, which waits for nobody


def test_what_onnxruntime_can_not_run_is_told(tmp_path: Path) -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["" : 18]>
        wrong (float[N] x) => (float[2, 2] y) <int64[2] shape = {2, 2}> { y = Reshape (x, shape) }
    """)
    (tmp_path / "wrong.onnx").write_bytes(model.SerializeToString())
    opened = open_session(tmp_path / "wrong.onnx", resolve_device("cpu"))
    three = {"x": np.zeros(3, np.float32)}
    with pytest.raises(InferenceError, match=r"wrong\.onnx: onnxruntime failed"):
        BoundRun(opened, resolve_device("cpu"), HostStream(), three)
