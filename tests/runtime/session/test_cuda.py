import onnxruntime
import pytest

from cnntk.runtime.session.cuda import CudaState, cuda_problem, cuda_state

SOUND = CudaState(
    offered=True, wheels=("onnxruntime-gpu",), needs="13.0", driver="13.1", driver_error=0, gpus=2
)


def but(**changes: object) -> CudaState:
    from dataclasses import replace

    return replace(SOUND, **changes)


@pytest.mark.parametrize(
    ("state", "index", "message"),
    [
        (
            but(offered=False, wheels=("onnxruntime",)),
            0,
            r"was built without CUDA.*pip install 'cnntk\[gpu\]'",
        ),
        (but(offered=False, wheels=("onnxruntime", "onnxruntime-gpu")), 0, "both installed.*uninstall"),
        (
            but(missing="libcublasLt.so.13"),
            0,
            r"libcublasLt.so.13 is missing .*needs CUDA 13.0\)\. Install CUDA 13",
        ),
        (
            but(missing="libcublasLt.so.13", others=("libcublasLt.so.12",)),
            0,
            "installed in another version: libcublasLt.so.12",
        ),
        (but(driver=""), 0, "no NVIDIA driver.*--gpus all"),
        (but(driver="12.4"), 0, "driver is too old: it supports CUDA 12.4, onnxruntime needs 13.0"),
        (but(driver_error=35, driver="13.1"), 0, "driver is too old"),
        (but(driver_error=803), 0, "fails to start .CUDA error 803"),
        (but(driver_error=100, gpus=0), 0, "finds no GPU.*CUDA_VISIBLE_DEVICES"),
        (SOUND, 2, "GPU 2 does not exist: the driver finds 2"),
    ],
    ids=[
        "wheel",
        "both wheels",
        "library",
        "other library",
        "driver",
        "old",
        "error 35",
        "start",
        "gpu",
        "index",
    ],
)
def test_every_reason_has_its_mend(state: CudaState, index: int, message: str) -> None:
    import re

    problem = cuda_problem(state, index)
    assert problem is not None
    assert re.search(message, problem)
    assert "\n" not in problem


@pytest.mark.parametrize("index", [0, 1])
def test_nothing_speaks_against_a_sound_machine(index: int) -> None:
    assert cuda_problem(SOUND, index) is None
    assert cuda_problem(but(needs=""), index) is None


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="has onnxruntime with CUDA"
)
def test_a_wheel_without_cuda_is_seen() -> None:
    state = cuda_state(onnxruntime)
    assert not state.offered
    assert state.wheels == ("onnxruntime",)


@pytest.mark.gpu
def test_a_machine_with_a_gpu_is_seen() -> None:
    state = cuda_state(onnxruntime)
    assert state.offered
    assert state.gpus >= 1
    assert not state.missing
    assert cuda_problem(state) is None
    assert "does not exist" in str(cuda_problem(state, state.gpus))
