import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cnntk.runtime.session.cores import cpu_quota, usable_cores

V2 = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n"
V1 = "31 23 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
MEMORY = "32 23 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"


def tree(root: Path, groups: str, mounts: str, files: dict[str, str]) -> Path:
    """A file system of control groups, as the kernel writes it."""
    for path, text in {"proc/self/cgroup": groups, "proc/self/mountinfo": mounts, **files}.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


@pytest.mark.parametrize(
    ("groups", "mounts", "files", "quota"),
    [
        ("0::/app\n", V2, {"sys/fs/cgroup/app/cpu.max": "150000 100000\n"}, 1.5),
        ("0::/app\n", V2, {"sys/fs/cgroup/app/cpu.max": "max 100000\n"}, None),
        (
            "0::/pod/app\n",
            V2,
            {
                "sys/fs/cgroup/pod/cpu.max": "50000 100000\n",
                "sys/fs/cgroup/pod/app/cpu.max": "200000 100000\n",
            },
            0.5,
        ),
        ("0::/\n", V2, {"sys/fs/cgroup/cpu.max": "100000 100000\n"}, 1.0),
        (
            "4:memory:/m\n3:cpu,cpuacct:/docker/4f\n0::/\n",
            MEMORY + V1,
            {
                "sys/fs/cgroup/cpu,cpuacct/docker/4f/cpu.cfs_quota_us": "300000\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/4f/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            3.0,
        ),
        (
            "3:cpu,cpuacct:/docker/4f\n",
            V1.replace(" / /sys", " /docker/4f /sys"),
            {
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "200000\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            2.0,
        ),
        ("3:memory:/m\n", MEMORY, {"sys/fs/cgroup/memory/m/cpu.max": "100000 100000\n"}, None),
        ("0::/app\n", V2, {"sys/fs/cgroup/app/cpu.max": "no numbers\n"}, None),
        ("0::/app\n", V2, {"sys/fs/cgroup/app/cpu.max": "100000 0\n"}, None),
        ("nonsense\n", "nonsense\n", {}, None),
    ],
    ids=["v2", "v2 max", "above", "namespace", "v1", "host's path", "other", "text", "no period", "odd"],
)
def test_quota_of_a_written_tree(
    tmp_path: Path, groups: str, mounts: str, files: dict[str, str], quota: float | None
) -> None:
    assert cpu_quota(tree(tmp_path, groups, mounts, files)) == quota


def test_no_control_groups_at_all(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) is None


def test_quota_is_no_more_than_affinity_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cnntk.runtime.session import cores

    here = len(os.sched_getaffinity(0))
    for quota, expected in ((0.2, 1), (1.0, 1), (here + 7.0, here), (None, here)):
        monkeypatch.setattr(cores, "cpu_quota", lambda quota=quota: quota)
        assert usable_cores() == expected


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core leaves nothing to narrow")
def test_a_process_with_narrowed_affinity_uses_one_thread(foreign_onnx: Path) -> None:
    assert _threads(foreign_onnx) == [str(len(os.sched_getaffinity(0)))] * 2
    assert _threads(foreign_onnx, "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})") == [
        "1",
        "1",
    ]


@pytest.fixture
def half_a_cpu() -> Iterator[Path]:
    """A real control group of half a CPU; skips where this process may not make one."""
    for parent, files in (
        (Path("/sys/fs/cgroup/cpu"), {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "50000"}),
        (Path("/sys/fs/cgroup"), {"cpu.max": "50000 100000"}),
    ):
        group = parent / f"cnntk-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            for name, text in files.items():
                (group / name).write_text(text)
        except OSError:
            group.rmdir()
            continue
        yield group
        group.rmdir()
        return
    pytest.skip("this process may not make a control group; the written trees above are tested instead")


def test_a_real_control_group_of_half_a_cpu_uses_one_thread(half_a_cpu: Path, foreign_onnx: Path) -> None:
    join = f"open({str(half_a_cpu / 'cgroup.procs')!r}, 'w').write('0')"
    assert _threads(foreign_onnx, join) == ["1", "1"]


def _threads(model: Path, first: str = "") -> list[str]:
    """``usable_cores`` and an engine's threads in a process that begins with ``first``."""
    code = f"""
{first}
from cnntk.runtime import Engine
from cnntk.runtime.session.cores import usable_cores
print(usable_cores(), Engine({str(model)!r}).threads)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.split()
