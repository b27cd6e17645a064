from dataclasses import replace

import pytest
from made_up_bench import compared, full_bench, layer, layers, plain_bench
from made_up_gpu import cuda_times, gpu

from cnntk.benchmark.cuda.report import CudaTimes, OffDeviceNodes
from cnntk.benchmark.result import BenchResult
from cnntk.cli.bench_text import _aligned, _number, print_bench


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
    print_bench(replace(plain_bench(), cuda=times))
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    joined = " ".join(text.split())
    for part in (
        "on the GPU 0.250 ms (0.240 to 0.260)",
        "handed over 0.125 ms (0.120 to 0.130), by the host",
        "done after 0.270 ms",
        "in 4.8 MB in 0.500 ms (9.6 GB/s); out 64.0 kB in 0 ms; not page-locked",
        "copies to the GPU: 1, to the host: 0; on the CPU: preprocess/size",
        "slowed down by its power limit",
    ):
        assert part in joined
    assert ("NVIDIA H200, driver 580.65.06" in joined) == with_gpu
    print_bench(
        replace(plain_bench(), cuda=replace(times, off_device=OffDeviceNodes((), (), tuple("abcdef"))))
    )
    assert "on the CPU: a, b, c, d and 2 more" in " ".join(capsys.readouterr().out.split())
    print_bench(plain_bench())
    assert "GPU" not in capsys.readouterr().out


def printed(capsys: pytest.CaptureFixture[str], result: BenchResult) -> str:
    print_bench(result)
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("time_ms", "told"),
    [
        (2.394, "sum 2.39 ms, 14.0 % more than a run without profiler, 2.10 ms"),
        (1.995, "sum 2.00 ms, 5.0 % less than a run without profiler, 2.10 ms"),
    ],
)
def test_what_the_layers_add_up_to(time_ms: float, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert told in printed(capsys, plain_bench(layers=layers(layer("a", time_ms, 10, 10))))


def test_noise_is_told_beside_an_opponent(capsys: pytest.CaptureFixture[str]) -> None:
    calm = compared("other.onnx", 1.01)
    assert calm.comparison is not None
    noisy = replace(calm, comparison=replace(calm.comparison, interference=("other processes used 50 %",)))
    assert "; other processes used 50 %" in printed(capsys, plain_bench(against=(noisy,)))
    assert "; other processes" not in printed(capsys, plain_bench(against=(calm,)))


def test_of_what_the_intervals_are(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, plain_bench())
    assert "95 %, of this process alone; --save measures several" in text
    assert "images/s" in text
    assert "by the mean" in text


@pytest.mark.parametrize("length", [12, 13, 17, 80, 96])
def test_a_name_of_any_length_stays_apart_and_within_80(
    length: int, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "n" * length
    print_bench(plain_bench(name=name))
    first, second, *rest = capsys.readouterr().out.splitlines()
    assert max(map(len, (first, second, *rest))) <= 80
    if length < 13:
        assert first.startswith(f"{name} on cpu")
    else:
        assert first == (name if length <= 80 else f"{'n' * 39}…{'n' * 40}")
        assert second.startswith(f"{'':13}on cpu")


def test_small_times_keep_their_digits() -> None:
    values = (0.0472, 0.000831, 0.0000123, 1.5, 12.34, 123.4, 38_703.8, 9.999, 0.0, -0.0472, float("inf"))
    told = ["0.0472", "0.000831", "0.000012", "1.50", "12.3", "123", "38,704", "10.0", "0", "-0.0472", "inf"]
    assert [_number(value) for value in values] == told


def test_points_stand_below_each_other() -> None:
    assert _aligned([0.0472, 12.3, 123.0, 1.5]) == ["0.0472", "12.3   ", "123     ", "1.50  "]


def test_long_layers_of_all_lengths_fit(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        layer("encoder.layers.encoder_layer_11.mlp.0", ms, 1_234_567_890, 10) for ms in (12_345.6, 0.000831)
    ]
    assert "encoder.l…r_11.mlp.0 12,346" in printed(capsys, plain_bench(layers=layers(*rows)))


def test_the_sum_of_the_steps_and_the_one_call(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, full_bench())
    assert "from JPEG 3.05 ms: read 0.0100 ms" in text
    assert "in one call 3.21 ms; pair by pair +0.15 ms (+0.010 to +0.020)" in text
