from collections.abc import Callable
from importlib.metadata import requires
from pathlib import Path

import pytest

from cnntk.requirements import missing_packages, onnxruntime_wheels, outdated_packages


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes a distribution visible to this process: its name, its version and its files."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(name: str, version: str, *files: str) -> None:
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (folder / "RECORD").write_text("".join(f"{file},,\n" for file in files))

    return make


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
        "quantize",
        "reports",
        "timm",
        "train",
        "transformers",
    }


@pytest.mark.parametrize(
    ("version", "is_outdated"),
    [
        ("1.21.9", True),
        ("1.22.0rc1", False),
        ("1.22", False),
        ("1.22.0.post1", False),
        ("1.100+cpu", False),
        ("0.9", True),
        ("2", False),
    ],
)
def test_an_older_release_than_required(
    install: Callable[..., None], version: str, is_outdated: bool
) -> None:
    install("no-such-graph", version)
    expected = (
        f"no-such-graph {version} is too old; cnntk[export] needs 1.22 or newer: "
        "pip install -U 'no-such-graph>=1.22'"
    )
    problems = outdated_packages(["numpy>=1.0", 'no-such-graph<3,>=1.22; extra == "export"'])
    assert problems == ((expected,) if is_outdated else ())


def test_each_package_is_named_once(install: Callable[..., None]) -> None:
    install("no-such-net", "1")
    lines = ['no-such-net>=2; extra == "export"', 'no-such-net>=2; extra == "train"', "no-such-base>=9"]
    (problem,) = outdated_packages(lines)
    assert "cnntk[export] needs 2" in problem


def test_this_installation_is_recent_enough() -> None:
    assert outdated_packages() == ()


def test_wheels_that_contain_onnxruntime(install: Callable[..., None]) -> None:
    before = onnxruntime_wheels()
    assert len(before) == 1
    install("onnxruntime-extensions", "0.15", "onnxruntime_extensions/__init__.py")
    assert onnxruntime_wheels() == before
    install("onnxruntime-openvino", "1.24.1", "onnxruntime/__init__.py")
    assert onnxruntime_wheels() == tuple(sorted((*before, "onnxruntime-openvino")))
