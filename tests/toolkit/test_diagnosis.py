from cnntk.diagnosis import cpu_features, diagnose, problems_of

PACKAGES = {"onnxruntime": "1.32.0", "onnxruntime-gpu": None}


def test_both_runtimes_installed_is_a_problem() -> None:
    assert problems_of(PACKAGES, ("CPUExecutionProvider",)) == ()
    (problem,) = problems_of({**PACKAGES, "onnxruntime-gpu": "1.31.1"}, ("CPUExecutionProvider",))
    assert "both installed" in problem


def test_a_gpu_wheel_without_cuda_is_a_problem() -> None:
    packages = {"onnxruntime": None, "onnxruntime-gpu": "1.31.1"}
    assert problems_of(packages, ("CUDAExecutionProvider", "CPUExecutionProvider")) == ()
    (problem,) = problems_of(packages, ("CPUExecutionProvider",))
    assert "no CUDA" in problem


def test_cpu_features_of_x86_and_arm() -> None:
    assert cpu_features("flags\t\t: fpu sse4_1 avx2 avx512_vnni\n") == ("sse4_1", "avx2", "avx512_vnni")
    assert cpu_features("Features\t: fp asimd asimddp\n") == ("asimd", "asimddp")
    assert cpu_features("") == ()


def test_this_machine() -> None:
    found = diagnose()
    assert found.packages["numpy"]
    assert "CPUExecutionProvider" in found.providers
    assert found.problems == ()
