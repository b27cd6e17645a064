import importlib.util

import numpy as np
import pytest

from cnntk.benchmark.cuda.events import cuda_stream, too_new
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
    found = too_new(bindings, driver)
    if problem is None:
        assert found is None
    else:
        with pytest.raises(MissingDependency, match=problem):
            raise MissingDependency(found)


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

    given = np.arange(1000, dtype=np.float32)
    back = np.zeros_like(given)
    with cuda_stream(0) as stream:
        place = import_onnxruntime().OrtValue.ortvalue_from_numpy(back, "cuda", 0)
        watch = stream.stopwatch()
        watch.start()
        stream.to_device(place.data_ptr(), given)
        stream.to_host(back, place.data_ptr())
        watch.stop()
        stream.wait()
        assert watch.ms() > 0
    np.testing.assert_array_equal(back, given)


@pytest.mark.gpu
def test_a_gpu_that_is_not_there() -> None:
    with pytest.raises(InferenceError, match="CUDA_ERROR_INVALID_DEVICE"), cuda_stream(99):
        pass
