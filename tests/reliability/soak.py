"""The long run of the reliability cases: ``make soak``, or some kinds, or some cases.

    python tests/reliability/soak.py                           # all that is planned: hours
    python tests/reliability/soak.py images graphs --cases 10000
    python tests/reliability/soak.py images --first 4711 --cases 1   # one case again
    python tests/reliability/soak.py --page                    # writes docs/reliability.md again

Each run goes on where the last one of its kind ended, until the record has all planned cases, and is added to
docs/reliability.json and docs/reliability.md. With ``--first`` results are only printed. Ctrl-C ends a kind.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
os.environ["OMP_NUM_THREADS"] = "1"  # before numpy is imported: one worker a core
sys.path.insert(0, str(ROOT / "tests"))
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])

from reliability.page import render  # noqa: E402
from reliability.runner import Kind, Result, run  # noqa: E402

from cnntk.runtime.session.cores import usable_cores  # noqa: E402

KINDS = {
    "artifacts": ("artifacts", "tampering"),
    "images": ("images",),
    "graphs": ("graphs", "specs"),
    "kills": ("kills",),
    "disk_full": ("disk_full",),
    "endurance": ("runs", "threads", "forks", "spawns", "sessions"),
}
"""Names of the kinds by the module that has them; a worker imports this file, so they are imported late."""

RECORD, PAGE = ROOT / "docs" / "reliability.json", ROOT / "docs" / "reliability.md"
_VERSIONS = ("onnxruntime", "onnx", "onnx-ir", "torch", "numpy", "pillow", "pillow-heif")


def main() -> int:
    names = [name for kinds in KINDS.values() for name in kinds]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(names))
    parser.add_argument(
        "--cases", type=int, help="number of cases of each kind (default: those that the record lacks)"
    )
    parser.add_argument("--first", type=int, metavar="SEED", help="seed of the first case; not recorded")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="longest time of each kind")
    parser.add_argument("--workers", type=int, default=usable_cores())
    parser.add_argument("--page", action="store_true", help="only write the page again, from the record")
    args = parser.parse_args()
    if unknown := set(args.kinds) - set(names):
        parser.error(f"unknown kinds {', '.join(sorted(unknown))}; known are {', '.join(names)}")
    failures = 0
    for module, kinds in () if args.page else KINDS.items():
        for name in kinds:
            if not args.kinds or name in args.kinds:
                failures += _soak(getattr(import_module(f"reliability.{module}"), name.upper()), args)
    PAGE.write_text(render(_record()), encoding="utf-8")
    return failures > 0


def _soak(kind: Kind, args: argparse.Namespace) -> int:
    """Runs one kind, adds the run to the record, and returns the number of its failures."""
    record = _record()
    done = sum(past["cases"] for past in record[kind.name]["runs"]) if kind.name in record else 0
    with tempfile.TemporaryDirectory() as name:
        kind.prepare(folder := Path(name))
        planned = kind.cases if isinstance(kind.cases, int) else kind.cases(folder)
        first, cases = (done, planned - done) if args.first is None else (args.first, 1)
        cases = args.cases or cases
        print(f"{kind.name}: {cases:,} cases from seed {first:,}", file=sys.stderr, flush=True)
        if cases <= 0:
            return 0
        result = run(
            kind,
            cases,
            first=first,
            workers=args.workers,
            seconds=args.minutes * 60,
            folder=folder,
            progress=lambda so_far: _print_progress(kind, so_far, cases),
        )
    _print_progress(kind, result, cases)
    for failure in result.failures:
        print(f"{kind.name}, seed {failure.seed}: {failure.text}", file=sys.stderr)
    if args.first is None:
        entry = {"title": kind.title, "unit": kind.unit, "planned": planned, "runs": []}
        past = record.get(kind.name, entry)["runs"]
        record[kind.name] = {**entry, "runs": [*past, {"first": first, **asdict(result), **_context()}]}
        RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return len(result.failures)


def _print_progress(kind: Kind, result: Result, cases: int) -> None:
    counts = ", ".join(f"{name}: {count:,}" for name, count in result.outcomes.items())
    print(
        f"{kind.name}: {result.cases:,} of {cases:,} in {result.seconds:.0f} s; {counts}; "
        f"{len(result.failures)} failures; slowest {result.slowest_s:.2f} s (seed {result.slowest_seed}); "
        f"{result.peak_rss_mib:.0f} MiB",
        *(f"  seed {failure.seed}: {failure.text[-300:]}" for failure in result.failures[-3:]),
        sep="\n",
        file=sys.stderr,
        flush=True,
    )


def _record() -> dict[str, Any]:
    return json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}


def _context() -> dict[str, object]:
    """Date, commit, machine and versions."""
    from cnntk.benchmark.machine import detect_machine

    machine = detect_machine()
    commit = subprocess.run(
        ["git", "rev-parse", "--short=10", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": commit,
        "machine": f"{machine.cpu}, {machine.cores} cores, {machine.system}, Python {machine.python}",
        "versions": {name: version(name) for name in _VERSIONS},
    }


if __name__ == "__main__":
    sys.exit(main())
