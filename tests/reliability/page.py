"""The page of the reliability record, from what the soak measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["render"]

_HEAD = """# Reliability

What was done to cnntk to break it, and what came of it. `make soak` repeats it (`tests/reliability/`):
each case is a function of its seed, so that a failure can be repeated alone. The test suite runs the same
code with fewer cases, and with faults on purpose that it must see. This page is generated from
`docs/reliability.json`.

A case fails if it ends its process, takes over 5 seconds (commands: 300), takes more memory than its kind
may, raises anything but a `CnntkError`, or breaks the promise of its kind. One that takes too long while
other work runs is repeated alone, with four times as long.
"""

_PROMISES = {
    "artifacts": """A damaged file is refused, or its outputs equal the original's to the bit. A twentieth of
the cases are attacks: the graph or the spec is damaged and the digest is right again;
these may run, without harm.""",
    "tampering": "Every change is noticed.",
    "images": "A damaged file gives uint8 pixels, or an error of one line.",
    "graphs": "A graph loads and runs, or is refused; `inspect` prints it, or refuses it.",
    "specs": "Engine, Classifier, self-test and `inspect` work, or refuse it.",
    "kills": """After a kill a file is the old one or the whole new one; the next run succeeds, has
every row once, and leaves nothing of the killed one. Commands run in forked processes,
without the time of their imports.""",
    "disk_full": """Exit status 0 and whole files; or 1 or 2 and a message, old files unchanged, nothing
left.""",
    "runs": "Outputs of all runs are equal to the bit.",
    "threads": "Outputs of all runs are equal to the bit.",
    "forks": "The child's outputs are equal to the bit, and it ends.",
    "spawns": "The child's outputs are equal to the bit, and it ends.",
    "sessions": "Outputs are equal to the bit.",
}

_FINDINGS = """
## What was found

| kind | found | now | test |
| --- | --- | --- | --- |
| specs | 8 of the first 293 cases raised KeyError, TypeError, ValueError or UnicodeEncodeError \
in `inspect` or the self-test | the spec is validated on load, printing escapes | `test_spec_mutations.py` |
| kills | temporary files of a killed process stayed in the folder | the next run removes them | \
`test_files.py` |
| images | a run-length BMP file of 76 bytes claimed 33 megapixels, which Pillow filled in Python, for \
seconds | refused before it is decoded | `tests/odd_images.py` |
| graphs | a Split with more outputs than it states ended the process in onnxruntime's shape inference | \
refused before it is loaded | `test_splits.py` |
| graphs | a Constant with two values, which onnxruntime loads, raised ValueError in `inspect` | inputs and \
outputs are shown, and why there are no layers | `test_inspection.py` |
| graphs | a sparse Constant raised an error of onnx_ir in `inspect` and `export` | refused by name | \
`test_onnx_reader.py` |
| graphs | an input declared with 2^40 columns raised MemoryError for the example inputs | refused | \
`test_example_inputs.py` |

Files for published vulnerabilities of ONNX tools are in `tests/test_cve_corpus.py`, every field of a spec
with every odd value in `tests/toolkit/verification/test_spec_mutations.py`.
""".replace("\\\n", "")


def render(record: Mapping[str, Mapping[str, Any]]) -> str:
    """The page in Markdown."""
    lines = [_HEAD, *_summary(record)]
    for name in _PROMISES:
        if name in record:
            lines += ["", *_part(name, record[name])]
    return "\n".join([*lines, _FINDINGS])


def _summary(record: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield "| kind | cases | failures | slowest case | memory |"
    yield "| --- | --: | --: | --: | --: |"
    for name in _PROMISES:
        if name in record:
            part = record[name]
            failures, memory = len(part["failures"]), f"{part['peak_rss_mib']:.0f} MiB"
            slowest = f"{part['slowest_s']:.2f} s"
            yield f"| [{name}](#{name}) | {_cases(part)} | {failures} | {slowest} | {memory} |"


def _part(name: str, part: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {name}"
    yield ""
    yield f"{part['title']}. {_PROMISES[name]}"
    yield ""
    counts = ", ".join(f"{outcome} {count:,}" for outcome, count in part["outcomes"].items())
    duration = _duration(part["seconds"])
    note = part.get("note", "")
    yield f"{_cases(part)} in {duration}, {part['workers']} at a time: {counts}. {note}".rstrip()
    if part["cases"] < part["planned"]:
        yield f"Not the whole record, which has {part['planned']:,} cases: `make soak KIND={name}` runs it."
    for failure in part["failures"]:
        later = f" ({failure['later']})" if failure["later"] else ""
        yield f"- seed {failure['seed']}: {failure['text'].strip().splitlines()[-1]}{later}"
    versions = ", ".join(f"{library} {version}" for library, version in part["versions"].items())
    yield ""
    yield f"{part['date']}, commit {part['commit']}, {part['machine']}; {versions}."


def _cases(part: Mapping[str, Any]) -> str:
    unit, size = part["unit"]
    return f"{part['cases'] * size:,} {unit}"


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.1f} minutes" if seconds >= 120 else f"{seconds:.1f} seconds"
