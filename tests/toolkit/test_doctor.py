from dataclasses import replace
from importlib.metadata import requires

from cnntk.doctor import cpu_features, cuda_problems, diagnose, missing_packages
from cnntk.runtime.session.cuda import CudaState

CPU = CudaState(offered=False, wheels=("onnxruntime",))
GPU = CudaState(offered=True, wheels=("onnxruntime-gpu",), needs="13.0", driver="13.0", gpus=1)


def test_both_runtimes_installed_is_a_problem() -> None:
    assert cuda_problems(CPU) == ()
    (problem,) = cuda_problems(replace(CPU, wheels=("onnxruntime", "onnxruntime-gpu")))
    assert "both installed" in problem


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


def test_missing_extras_are_read_from_the_metadata() -> None:
    lines = [
        "no-such-base>=1",
        'no-such-runtime>=1; extra == "cpu"',
        'numpy>=1; extra == "export"',
        'no-such-graph>=1,<2; python_version > "3" and extra == "export"',
        "no_such.ir; extra == 'export'",
        'no-such-learner [fast] >=1 ; extra=="train"',
        'numpy; extra == "docs"',
    ]
    assert missing_packages(lines) == {
        "export": ("no-such-graph", "no_such.ir"),
        "train": ("no-such-learner",),
    }
    assert missing_packages(['numpy>=1; extra == "export"']) == {}


def test_the_extras_are_those_that_pip_installs() -> None:
    lines = requires("cnntk") or []
    absent = [f"no-such-{line}" for line in lines]
    assert "no-such-onnx-ir" in missing_packages(absent)["export"]
    assert "no-such-safetensors" in missing_packages(absent)["train"]
    assert set(missing_packages(absent)) == {
        "cuda",
        "export",
        "parquet",
        "reports",
        "timm",
        "train",
        "transformers",
    }
