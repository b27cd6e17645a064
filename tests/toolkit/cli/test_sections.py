import re
from dataclasses import replace

import pytest
from made_up_bench import compared, full_bench, layer, layers, plain_bench
from simulated_gpu import cuda_times, gpu

from cnntk.benchmark.cuda.report import CudaTimes, OffDeviceNodes
from cnntk.benchmark.result import BenchResult
from cnntk.cli.output import decimal_aligned, print_sections


@pytest.mark.parametrize(
    ("times", "with_gpu"),
    [
        (cuda_times(), True),
        (cuda_times(gpu=gpu({"sm_mhz": None, "power_w": None})), True),
        (cuda_times(gpu=None), False),
    ],
    ids=["all", "no clock", "without NVML"],
)
def test_the_gpu_fits_80_columns(
    times: CudaTimes, with_gpu: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    joined = printed(capsys, replace(plain_bench(), cuda=times))
    for part in (
        "run on the GPU 0.250 0.240 to 0.260",
        "host: until the run is launched 0.125 0.120 to 0.130",
        "host: until the run is done 0.270",
        "inputs copied to the GPU 0.500 0.490 to 0.520 4.8 MB 9.63",
        "outputs copied to the host 0 0 to 0.0100 64.0 kB",
        "to the GPU: Memcpy_token_1; to the host: none",
        "on the CPU preprocess/size",
        "slowed down by its power limit",
    ):
        assert part in joined
    assert ("NVIDIA H200, driver 580.65.06" in joined) == with_gpu
    more = replace(times, off_device=OffDeviceNodes((), (), tuple("abcdef")))
    assert "on the CPU a, b, c, d and 2 more" in printed(capsys, replace(plain_bench(), cuda=more))
    assert "GPU" not in printed(capsys, plain_bench())


def printed(capsys: pytest.CaptureFixture[str], result: BenchResult) -> str:
    print_sections(result.sections(), result.header())
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("time_ms", "text"),
    [
        (2.394, "sum 2.39 ms, 14.0 % more than a run without profiler, 2.10 ms"),
        (1.995, "sum 2.00 ms, 5.0 % less than a run without profiler, 2.10 ms"),
    ],
)
def test_what_the_layers_add_up_to(time_ms: float, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert text in printed(capsys, plain_bench(layers=layers(layer("a", time_ms, 10, 10))))


def test_interference_is_named_beside_a_target(capsys: pytest.CaptureFixture[str]) -> None:
    calm = compared("other.onnx", 1.01)
    assert calm.comparison is not None
    noisy = replace(calm, comparison=replace(calm.comparison, interference=("other processes used 50 %",)))
    assert "other.onnx: other processes used 50 %" in printed(capsys, plain_bench(against=(noisy,)))
    assert "other.onnx: other processes" not in printed(capsys, plain_bench(against=(calm,)))


def test_of_what_the_intervals_are(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, plain_bench())
    assert "95 %, of this process alone; a baseline (--save) has several processes" in text
    assert "images/s" in text
    assert "by the mean" in text


@pytest.mark.parametrize("length", [12, 79, 80, 96])
def test_a_name_of_any_length_fits(length: int, capsys: pytest.CaptureFixture[str]) -> None:
    printed(capsys, plain_bench(name="n" * length))


def test_points_stand_below_each_other() -> None:
    assert decimal_aligned(["0.0472", "12.3", "123", "1.50"]) == ["0.0472", "12.3   ", "123     ", "1.50  "]


def test_long_layers_of_all_lengths_fit(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        layer("encoder.layers.encoder_layer_11.mlp.0", ms, 1_234_567_890, 10) for ms in (12_345.6, 0.000831)
    ]
    assert re.search(r"enc\S*…\S*mlp.0 12,346", printed(capsys, plain_bench(layers=layers(*rows))))


def test_the_sum_of_the_steps_and_the_one_call(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, full_bench())
    assert "JPEG 0.0100 0.730 0.200 2.00 0.114 3.05" in text
    assert "JPEG in one call 3.21 ms; pair by pair +0.15 ms (+0.010 to +0.020)" in text
