from dataclasses import replace

import pytest
from made_up_bench import full_bench, layer, layers, plain_bench, rivalry, scenario
from made_up_gpu import cuda_times, gpu

from cnntk.benched import BenchResult
from cnntk.cli.bench_text import print_bench
from cnntk.measuring.cuda.inside import Inside
from cnntk.measuring.cuda.times import CudaTimes


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
        "in 4.8 MB in 0.500 ms (9.6 GB/s); out 64.0 kB in 0.000 ms; not page-locked",
        "copies to the GPU: 1, to the host: 0; on the CPU: preprocess/size",
        "slowed down by the limit of its power",
    ):
        assert part in joined
    assert ("NVIDIA H200, driver 580.65.06" in joined) == with_gpu
    print_bench(replace(plain_bench(), cuda=replace(times, inside=Inside((), (), tuple("abcdef")))))
    assert "on the CPU: a, b, c, d and 2 more" in " ".join(capsys.readouterr().out.split())
    print_bench(plain_bench())
    assert "GPU" not in capsys.readouterr().out


def printed(capsys: pytest.CaptureFixture[str], result: BenchResult) -> str:
    print_bench(result)
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    return " ".join(text.split())


def test_a_scenario_with_its_percentiles_and_notes(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, full_bench())
    assert "p50 2.220 ms, p90 2.710 ms seeded noise was sent" in text
    more = {"50": 1.0, "90": 2.0, "95": 2.5, "99": 3.0, "99.9": 4.0}
    found = replace(scenario(True), percentiles_ms=more)
    assert "p50 1.000 ms, p90 2.000 ms, p99 3.000 ms seeded" in printed(
        capsys, plain_bench(scenarios=(found,))
    )


@pytest.mark.parametrize(
    ("time_ms", "told"),
    [
        (2.394, "sum 2.394 ms, 14.0 % more than a run without profiler, 2.100 ms"),
        (1.995, "sum 1.995 ms, 5.0 % less than a run without profiler, 2.100 ms"),
    ],
)
def test_what_the_layers_add_up_to(time_ms: float, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert told in printed(capsys, plain_bench(layers=layers(layer("a", time_ms, 10, 10))))


def test_noise_is_told_beside_an_opponent(capsys: pytest.CaptureFixture[str]) -> None:
    calm = rivalry("other.onnx", 1.01)
    assert calm.comparison is not None
    noisy = replace(calm, comparison=replace(calm.comparison, noise=("other processes used 50 %",)))
    assert "; other processes used 50 %" in printed(capsys, plain_bench(against=(noisy,)))
    assert "; other processes" not in printed(capsys, plain_bench(against=(calm,)))


def test_of_what_the_intervals_are(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, plain_bench())
    assert "95 %, of this process alone; --save measures several" in text
    assert "images/s" in text
    assert "by the mean" in text
