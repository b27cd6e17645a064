import importlib.util

import numpy as np
import pytest

from cnntk.benchmark.cuda.events import binding_problem, cuda_stream
from cnntk.runtime.errors import InferenceError, MissingDependency


@pytest.mark.parametrize(
    ("bindings", "driver", "problem"),
    [
        ("12.8.0", 12040, None),
        ("12.8.0", 13000, None),
        ("13.5.0", 13000, None),
        ("13.5.0", 12080, r"supports CUDA 12\.8; run: pip install 'cuda-bindings<13'"),
    ],
)
def test_the_binding_fits_the_driver(bindings: str, driver: int, problem: str | None) -> None:
    message = binding_problem(bindings, driver)
    if problem is None:
        assert message is None
    else:
        with pytest.raises(MissingDependency, match=problem):
            raise MissingDependency(message)


@pytest.mark.skipif(importlib.util.find_spec("cuda") is not None, reason="it is installed")
def test_what_to_install() -> None:
    with (
        pytest.raises(MissingDependency, match=r"cuda-bindings .*pip install 'cnntk\[cuda\]'"),
        cuda_stream(0),
    ):
        pass


@pytest.mark.gpu
def test_copies_there_and_back() -> None:
    from cnntk.runtime.session.devices import import_onnxruntime

    sent = np.arange(1000, dtype=np.float32)
    received = np.zeros_like(sent)
    with cuda_stream(0) as stream:
        memory = import_onnxruntime().OrtValue.ortvalue_from_numpy(received, "cuda", 0)
        timer = stream.timer()
        timer.start()
        stream.to_device(memory.data_ptr(), sent)
        stream.to_host(received, memory.data_ptr())
        timer.stop()
        stream.wait()
        assert timer.ms() > 0
    np.testing.assert_array_equal(received, sent)


@pytest.mark.gpu
def test_a_gpu_that_is_not_there() -> None:
    with pytest.raises(InferenceError, match="CUDA_ERROR_INVALID_DEVICE"), cuda_stream(99):
        pass
