"""The page of the reliability record, from what the soak measured."""

from __future__ import annotations

from collections import Counter
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
refused before it is loaded | `test_unsafe_nodes.py` |
| graphs | an empty name among the inputs of a LayerNormalization, Einsum, Sum, Max, Min or Mean ended \
the process in onnxruntime | refused before it is loaded | `test_unsafe_nodes.py` |
| graphs | a Slice along an axis whose inferred size is negative, behind a kernel larger than its input, \
ends the process in onnxruntime's shape inference | it still does: see the limits in SECURITY.md | |
| graphs | an input of a type that numpy has not, such as bfloat16, raised ValueError for the example \
inputs | refused by name | `test_example_inputs.py` |
| artifacts | an attack took 4.2 GB while it ran | attacks are loaded with a limit of memory, which \
refuses it | |
| graphs | a Constant with two values, which onnxruntime loads, raised ValueError in `inspect` | inputs and \
outputs are shown, and why there are no layers | `test_inspection.py` |
| graphs | a sparse Constant raised an error of onnx_ir in `inspect` and `export` | refused by name | \
`test_onnx_reader.py` |
| graphs | an input declared with 2^40 columns raised MemoryError for the example inputs | refused | \
`test_example_inputs.py` |

Files for published vulnerabilities of ONNX tools are in `tests/test_cve_corpus.py`, every field of a spec
with every odd value in `tests/toolkit/verification/test_spec_mutations.py`.
""".replace("\\\n", "")


def render(record: Mapping[str, Any]) -> str:
    """The page in Markdown."""
    lines = [_HEAD, *_summary(record)]
    for name in _PROMISES:
        if name in record:
            lines += ["", *_part(name, record[name])]
    return "\n".join([*lines, _FINDINGS])


def _summary(record: Mapping[str, Any]) -> Iterator[str]:
    yield "| kind | cases | of | failures | slowest case | memory |"
    yield "| --- | --: | --: | --: | --: | --: |"
    for name in _PROMISES:
        if name in record:
            part = record[name]
            runs, unit = part["runs"], part["unit"]
            failures = sum(len(run["failures"]) for run in runs)
            slowest, memory = (max(run[key] for run in runs) for key in ("slowest_s", "peak_rss_mib"))
            counts = f"{_count(sum(run['cases'] for run in runs), unit)} | {_count(part['planned'], unit)}"
            yield f"| [{name}](#{name}) | {counts} | {failures} | {slowest:.2f} s | {memory:.0f} MiB |"


def _part(name: str, part: Mapping[str, Any]) -> Iterator[str]:
    runs, unit = part["runs"], part["unit"]
    yield f"## {name}"
    yield ""
    yield f"{part['title']}. {_PROMISES[name]}"
    yield ""
    outcomes: Counter[str] = Counter()
    for run in runs:
        outcomes.update(run["outcomes"])
    done = sum(run["cases"] for run in runs)
    counts = ", ".join(f"{outcome} {count:,}" for outcome, count in outcomes.items())
    yield f"{_count(done, unit)} {unit[0]}: {counts}."
    if done < part["planned"]:
        planned, rest = _count(part["planned"], unit), _count(part["planned"] - done, unit)
        yield f"Not yet the {planned} planned: `make soak KIND={name}` runs the other {rest}."
    yield ""
    for run in runs:
        yield f"- {_run(run, unit)}"
        for failure in run["failures"]:
            later = f" ({failure['later']})" if failure["later"] else ""
            yield f"  - seed {failure['seed']}: {failure['text'].strip().splitlines()[-1]}{later}"


def _run(run: Mapping[str, Any], unit: tuple[str, int]) -> str:
    versions = ", ".join(f"{library} {version}" for library, version in run["versions"].items())
    context = f"{run['date']}, commit {run['commit']}, {run['machine']}; {versions}."
    duration = f"{_duration(run['seconds'])}, {run['workers']} at a time"
    return f"{_count(run['cases'], unit)} {unit[0]} in {duration}. {context} {run.get('note', '')}".rstrip()


def _count(cases: int, unit: tuple[str, int]) -> str:
    return f"{cases * unit[1]:,}"


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.1f} minutes" if seconds >= 120 else f"{seconds:.1f} seconds"
