"""What the engine promises of CUDA; run where there is a GPU and onnxruntime-gpu."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from cnntk.runtime import Engine
from cnntk.runtime.errors import DeviceUnavailable
from cnntk.shipped import shipped_model

pytestmark = pytest.mark.gpu

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 28, 28, 1), dtype=np.uint8)


@pytest.fixture
def engine() -> Engine:
    return Engine(shipped_model(), "cuda")


def test_cuda_answers_what_was_proven(engine: Engine) -> None:
    assert engine.device == "cuda:0"
    assert engine.self_test().holds
    cpu = Engine(shipped_model()).run({"image": IMAGES})["logits"]
    np.testing.assert_allclose(engine.run({"image": IMAGES})["logits"], cpu, atol=1e-3)


def test_tf32_is_distinguished_from_float32() -> None:
    """The negative control of the self-test on CUDA: TF32, where the convolutions use it."""
    exact = Engine(shipped_model(), "cuda").run({"image": IMAGES})["logits"]
    rough = Engine(shipped_model(), "cuda", options={"use_tf32": "1"}).run({"image": IMAGES})["logits"]
    assert not np.array_equal(exact, rough)


def test_most_of_the_nodes_run_on_the_gpu(engine: Engine) -> None:
    placement = engine.placement()
    cuda, cpu = placement.of("CUDAExecutionProvider"), placement.of("CPUExecutionProvider")
    assert cuda.nodes > cpu.nodes
    assert cuda.share > cpu.share


def test_answers_stay_on_the_device_as_dlpack(engine: Engine) -> None:
    torch = pytest.importorskip("torch")
    answer = torch.from_dlpack(engine.bind({"image": IMAGES}, outputs="device").run()["logits"])
    assert answer.is_cuda
    expected = engine.run({"image": IMAGES})["logits"]
    np.testing.assert_allclose(answer.cpu().numpy(), expected, atol=1e-5)


def test_a_cuda_graph_answers_for_new_inputs(foreign_onnx: Path) -> None:
    batch = np.random.default_rng(0).random((3, 1, 4, 4), dtype=np.float32)
    plain = Engine(foreign_onnx, "cuda")
    binding = Engine(foreign_onnx, "cuda", options={"enable_cuda_graph": "1"}).bind({"input": batch})
    for inputs in (batch, -batch, batch * 2):
        expected = plain.run({"input": inputs})["logits"]
        np.testing.assert_allclose(binding.run({"input": inputs})["logits"], expected, atol=1e-5)


def test_pickled_it_comes_back_to_its_device(engine: Engine) -> None:
    assert pickle.loads(pickle.dumps(engine)).device == "cuda:0"


def test_a_forked_child_raises_because_cuda_does_not_survive(engine: Engine) -> None:
    child = os.fork()
    if child == 0:
        try:
            engine.run({"image": IMAGES})
        except DeviceUnavailable as error:
            os._exit(0 if "does not survive a fork" in str(error) else 2)
        os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_gpu_that_is_not_there() -> None:
    with pytest.raises(DeviceUnavailable, match="GPU 99 does not exist"):
        Engine(shipped_model(), "cuda:99")
