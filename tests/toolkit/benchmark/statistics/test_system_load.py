"""What the system reports, from file trees that are made up, and from the real one."""

import os
import time
from pathlib import Path

import pytest

from cnntk.benchmark.statistics.system_load import SystemCounters, load_between, read_counters

CPUS = "sys/devices/system/cpu"


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def line(cpu: int, *fields: int) -> str:
    return f"cpu{cpu} {' '.join(map(str, fields))}\n"


@pytest.fixture
def cpu() -> int:
    return min(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0


def test_busy_and_stolen_time_of_usable_cores(tmp_path: Path, cpu: int) -> None:
    total = "cpu  900 900 900 900 900 900 900 900 0 0\n"
    foreign = line(4000, 7, 7, 7, 7, 7, 7, 7, 7, 0, 0) if hasattr(os, "sched_getaffinity") else ""
    usable = line(cpu, 100, 20, 30, 5000, 600, 7, 3, 40, 0, 0)
    counters = read_counters(write(tmp_path, {"proc/stat": total + usable + foreign + "intr 1 2 3\n"}))
    ticks = os.sysconf("SC_CLK_TCK")
    assert counters.cores == 1
    assert counters.busy_s == pytest.approx((100 + 20 + 30 + 7 + 3) / ticks)
    assert counters.steal_s == pytest.approx(40 / ticks)


def test_clock_and_heat(tmp_path: Path) -> None:
    files = {
        f"{CPUS}/cpu0/cpufreq/scaling_cur_freq": "3000000\n",
        f"{CPUS}/cpu1/cpufreq/scaling_cur_freq": "2000000\n",
        f"{CPUS}/cpu0/thermal_throttle/core_throttle_count": "4\n",
        f"{CPUS}/cpu0/thermal_throttle/package_throttle_count": "4\n",
    }
    counters = read_counters(write(tmp_path, files))
    assert (counters.clock_mhz, counters.thermal_throttles) == (2500, 8)


def test_clock_of_the_processor_list(tmp_path: Path) -> None:
    text = "processor : 0\ncpu MHz : 1000.5\n\nprocessor : 1\ncpu MHz : 2000.5\n"
    assert read_counters(write(tmp_path, {"proc/cpuinfo": text})).clock_mhz == 1500.5


@pytest.mark.parametrize(
    ("kind", "stat"),
    [
        ("cgroup2 cgroup2", "nr_throttled 9\nthrottled_usec 2500000\n"),
        ("cgroup cgroup", "nr_throttled 9\nthrottled_time 2500000000\n"),
    ],
    ids=["version 2", "version 1"],
)
def test_time_without_quota(tmp_path: Path, kind: str, stat: str) -> None:
    name = kind.split()[0]
    counters = read_counters(
        write(
            tmp_path,
            {
                "proc/self/cgroup": "0::/\n" if name == "cgroup2" else "3:cpu,cpuacct:/\n",
                "proc/self/mountinfo": f"30 20 0:26 / /cpu rw - {kind} rw,cpu\n",
                "cpu/cpu.stat": stat,
            },
        )
    )
    assert counters.throttled_s == pytest.approx(2.5)


def test_a_system_that_reports_nothing(tmp_path: Path) -> None:
    counters = read_counters(tmp_path)
    assert (
        counters.busy_s,
        counters.steal_s,
        counters.throttled_s,
        counters.clock_mhz,
        counters.thermal_throttles,
    ) == (None,) * 5
    assert counters.cores >= 1
    between = load_between(counters, read_counters(tmp_path))
    assert (
        between.other_cpu_share,
        between.steal,
        between.throttled,
        between.clock_mhz,
        between.thermal_throttles,
    ) == (None,) * 5


def test_unexpected_formats_are_not_reported(tmp_path: Path) -> None:
    files = {"proc/stat": "cpu0 1 2\n", f"{CPUS}/cpu0/cpufreq/scaling_cur_freq": "<unknown>\n"}
    counters = read_counters(write(tmp_path, files))
    assert (counters.busy_s, counters.clock_mhz) == (None, None)


def test_shares_between_two_readings() -> None:
    before = SystemCounters(10.0, 1.0, 2, 100.0, 5.0, 40, 1.0, 3000.0, 2)
    after = SystemCounters(20.0, 9.0, 2, 116.2, 7.0, 90, 3.5, 2000.0, 5)
    load = load_between(before, after)
    assert load.seconds == 10
    assert load.other_cpu_share == pytest.approx((16.2 - 8) / 20)
    assert (load.steal, load.throttled) == (pytest.approx(0.1), pytest.approx(0.25))
    assert (load.preemptions, load.clock_mhz, load.thermal_throttles) == (50, (3000.0, 2000.0), 3)


def test_counters_that_count_in_steps_give_no_negative_share() -> None:
    load = load_between(SystemCounters(0, 1.0, 1, 1.0, 1.0), SystemCounters(1, 1.5, 1, 1.49, 1.0))
    assert (load.other_cpu_share, load.steal) == (0, 0)


def test_work_of_this_process() -> None:
    before = read_counters()
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    after = read_counters()
    assert after.process_cpu_s - before.process_cpu_s >= 0.28
    assert before.busy_s is None or after.busy_s is None or after.busy_s - before.busy_s >= 0.2
