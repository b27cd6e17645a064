"""What the processor is, from file trees that are made up, and from the real one."""

from pathlib import Path

import pytest

from cnntk.benchmark.processor import (
    cpu_features,
    cpu_name,
    governor,
    memory_bytes,
    physical_cores,
    read_cpu_info,
)

X86 = "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu avx2 amx_int8 avx512_vnni\n\nprocessor\t: 1\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp i8mm\nCPU part\t: 0xd0b\n"
CPUS = "sys/devices/system/cpu"


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def test_names_and_features(tmp_path: Path) -> None:
    assert cpu_name(X86, tmp_path) == "AMD EPYC"
    assert cpu_features(X86) == ("avx2", "avx512_vnni", "amx_int8")
    assert cpu_features(ARM) == ("asimd", "asimddp", "i8mm")


def test_a_board_has_a_name_where_its_processor_has_none(tmp_path: Path) -> None:
    assert cpu_name(ARM, tmp_path)
    write(tmp_path, "proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0")
    assert cpu_name(ARM, tmp_path) == "Raspberry Pi 5 Model B Rev 1.0"


@pytest.mark.parametrize(("threads", "expected"), [(1, 4), (2, 2)])
def test_two_threads_of_a_core_count_once(tmp_path: Path, threads: int, expected: int) -> None:
    for cpu in range(4):
        write(tmp_path, f"{CPUS}/cpu{cpu}/topology/physical_package_id", "0\n")
        write(tmp_path, f"{CPUS}/cpu{cpu}/topology/core_id", f"{cpu // threads}\n")
    assert physical_cores(tmp_path) == expected


def test_governor(tmp_path: Path) -> None:
    write(tmp_path, f"{CPUS}/cpu0/cpufreq/scaling_governor", "powersave\n")
    assert governor(tmp_path) == "powersave"


def test_a_system_that_tells_nothing(tmp_path: Path) -> None:
    assert (read_cpu_info(tmp_path), physical_cores(tmp_path), governor(tmp_path)) == ("", None, None)
    assert cpu_features("") == ()
    assert cpu_name("", tmp_path)


def test_memory() -> None:
    found = memory_bytes()
    assert found is None or found > 2**28
