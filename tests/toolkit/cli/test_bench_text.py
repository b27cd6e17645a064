from dataclasses import replace

import pytest
from made_up_bench import plain_bench
from made_up_gpu import cuda_times, gpu

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
