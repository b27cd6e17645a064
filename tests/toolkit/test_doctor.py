from dataclasses import replace

from cnntk.doctor import cpu_features, cuda_problems, diagnose, wheel_problems
from cnntk.runtime.session.cuda import CudaState

CPU = CudaState(offered=False, wheels=("onnxruntime",))
GPU = CudaState(offered=True, wheels=("onnxruntime-gpu",), needs="13.0", driver="13.0", gpus=1)


def test_both_runtimes_installed_is_a_problem() -> None:
    assert wheel_problems(CPU.wheels) == ()
    (problem,) = wheel_problems(("onnxruntime", "onnxruntime-gpu"))
    assert problem.startswith(
        "onnxruntime and onnxruntime-gpu overwrite each other's files: pip uninstall -y "
    )


def test_a_gpu_wheel_that_can_not_start_is_a_problem() -> None:
    assert cuda_problems(GPU) == ()
    (problem,) = cuda_problems(replace(GPU, missing="libcublasLt.so.13"))
    assert "CUDA: the library libcublasLt.so.13 is missing" in problem


def test_cpu_features_of_x86_and_arm() -> None:
    assert cpu_features("flags\t\t: fpu sse4_1 avx2 avx512_vnni\n") == ("sse4_1", "avx2", "avx512_vnni")
    assert cpu_features("Features\t: fp asimd asimddp\n") == ("asimd", "asimddp")
    assert cpu_features("") == ()


def test_this_machine() -> None:
    diagnosis = diagnose()
    assert diagnosis.packages["numpy"]
    assert "CPUExecutionProvider" in diagnosis.providers
    assert diagnosis.problems == ()
