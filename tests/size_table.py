"""``make size``: lines of source of each package beside its budget, as a table."""

from __future__ import annotations

from pathlib import Path

from source_tree import relative, source_files

BUDGETS = (
    ("runtime", ("runtime/",), 5_800),
    ("models", ("models/",), 1_850),
    ("exporters", ("exporters/",), 11_200),
    (
        "quantization",
        (
            "toolkit/quantization/",
            "toolkit/data/calibration.py",
            "toolkit/data/batches.py",
            "toolkit/data/labeled.py",
        ),
        4_200,
    ),
    ("benchmark", ("toolkit/benchmark/", "toolkit/cli/bench"), 5_200),
    ("reports", ("toolkit/reports/",), 2_000),
    ("verification", ("toolkit/verification/", "toolkit/cli/inspect.py"), 1_450),
    ("training, data, inference", ("toolkit/training/", "toolkit/data/", "toolkit/inference/"), 3_300),
    ("cli and the rest", ("toolkit/",), 1_600),
)
"""Title, paths (a file counts for the row with the longest that fits), and lines at most."""
TEMPLATES_BUDGET = 550
TESTS_BUDGET = 28_000


def size_rows() -> list[tuple[str, int, int]]:
    """Title, lines and budget of each package, of all of them, and of the templates and tests."""
    lines = dict.fromkeys((title for title, _, _ in BUDGETS), 0)
    for file in source_files():
        lines[package_of(relative(file))] += _lines(file)
    rows = [(title, lines[title], budget) for title, _, budget in BUDGETS]
    rows.append(("all", sum(lines.values()), sum(budget for _, _, budget in BUDGETS)))
    rows.append(("templates", sum(map(_lines, source_files(["toolkit"], ".j2"))), TEMPLATES_BUDGET))
    rows.append(("tests", sum(map(_lines, source_files(["tests"]))), TESTS_BUDGET))
    return rows


def package_of(path: str) -> str:
    """Title of the row that the file ``path`` counts for."""
    matches = [(len(p), title) for title, prefixes, _ in BUDGETS for p in prefixes if path.startswith(p)]
    return max(matches)[1]


def _lines(file: Path) -> int:
    return len(file.read_text(encoding="utf-8").splitlines())


if __name__ == "__main__":
    print(f"{'package':<26} {'lines':>7} {'budget':>7} {'left':>7}")
    for title, lines, budget in size_rows():
        print(f"{title:<26} {lines:>7,} {budget:>7,} {budget - lines:>+7,}")
