"""The page of the benchmarks: what was not measured again stays, and its first table is of the others."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "page.py"

OLD = """# Benchmarks

## What loading costs

Of another day.

## Of a script that is no more

Gone.
"""


def table(header: tuple[str, ...], rows: int) -> str:
    lines = [header, ("---",) * len(header), *([str(n)] * len(header) for n in range(rows))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True)


def test_every_part_has_a_script(page: ModuleType) -> None:
    assert [name for name in page.TITLES if not (SCRIPT.parent / f"{name}.py").exists()] == []


def test_parts_are_read_as_they_were_written(page: ModuleType, tmp_path: Path) -> None:
    parts = {"overhead": f"Today.\n\n{table(page.HEADER, 2)}", "load": "### A part of it\n\nYesterday."}
    (tmp_path / "page.md").write_text(page.page(parts))
    assert page.load_parts(tmp_path / "page.md") == parts


def test_a_page_that_is_not_there_has_no_parts(page: ModuleType, tmp_path: Path) -> None:
    assert page.load_parts(tmp_path / "none.md") == {}


def test_parts_stand_in_the_order_of_the_titles(page: ModuleType) -> None:
    text = page.page({"load": "second", "overhead": "first"})
    assert text.index("first") < text.index("second")


def test_in_short_is_the_first_row_of_each_comparison(page: ModuleType) -> None:
    body = "\n\n".join((table(page.HEADER, 3), table(("size", "share"), 2), table(page.HEADER, 1)))
    link = "[Batches of many clients' requests](#batches-of-many-clients-requests)"
    assert list(page.in_short({"batching": body})) == [(link, *"000000")] * 2


def test_without_comparisons_there_is_nothing_in_short(page: ModuleType) -> None:
    assert "In short" not in page.page({"layers": table(("size", "share"), 2)})


def test_quick_figures_do_not_go_to_the_page() -> None:
    done = run("--quick")
    assert done.returncode == 2
    assert "--quick has no figures to keep: name another --output" in done.stderr


@pytest.mark.slow
def test_a_part_is_measured_and_the_others_stay(page: ModuleType, tmp_path: Path) -> None:
    output = tmp_path / "page.md"
    output.write_text(OLD)
    done = run("--quick", "--only", "overhead", "--output", str(output))
    assert done.returncode == 0, done.stderr
    parts = page.load_parts(output)
    assert list(parts) == ["overhead", "load"]
    assert parts["load"] == "Of another day."
    assert parts["overhead"].startswith("`benchmarks/overhead.py`, 2")
    assert page.detect_machine().summary in parts["overhead"]
    rows = [page.cells(line) for line in parts["overhead"].splitlines() if line.startswith("| ")]
    assert rows[0] == page.HEADER
    assert [row[2] for row in rows[2:]] == ["session.run"] * 6
    assert [row[1:] for row in page.in_short(parts)] == [rows[2]]


@pytest.mark.slow
def test_a_script_that_fails_leaves_its_part(page: ModuleType, tmp_path: Path) -> None:
    output, missing = tmp_path / "page.md", str(tmp_path / "photographs")
    output.write_text(page.page({"directory": "Of another day."}))
    done = run("--quick", "--only", "directory", "--photographs", missing, "--output", str(output))
    assert done.returncode == 1
    assert "directory: failed; the page keeps what it had" in done.stderr
    assert page.load_parts(output) == {"directory": "Of another day."}
