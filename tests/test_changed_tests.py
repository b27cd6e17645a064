from pathlib import Path

import pytest
from changed_tests import ALWAYS, select_tests


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for file in ("tests/runtime/images/test_reading.py", "tests/test_doctor.py", *ALWAYS):
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "tests"),
    [
        ("runtime/images/reading.py", {"tests/runtime/images/test_reading.py"}),
        ("runtime/images/_reading.py", {"tests/runtime/images/test_reading.py"}),
        ("runtime/images/_formats.py", {"tests/runtime/images"}),
        ("tests/test_doctor.py", {"tests/test_doctor.py"}),
        ("runtime/other/file.py", set()),
        ("README.md", set()),
    ],
)
def test_selection(repository: Path, changed: str, tests: set[str]) -> None:
    assert set(select_tests([changed], repository)) == tests | set(ALWAYS)
