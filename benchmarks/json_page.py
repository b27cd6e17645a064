"""docs/bench-json.md, made from the docstrings of the dataclasses that `cnntk bench --json` prints.

python benchmarks/json_page.py
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from cnntk.benchmark.result import SCHEMA, BenchResult
from cnntk.benchmark.statistics.intervals import Estimate
from cnntk.cli.options import attribute_texts

PAGE = Path(__file__).parents[1] / "docs" / "bench-json.md"

HEAD = f"""# The JSON document of `cnntk bench --json`

One object. Its `schema` is `{SCHEMA}`: the number increases when a field changes its meaning or is removed;
fields may be added under the same number. Each section below describes one object and is named by its path
in the document; `[]` stands for each item of a list, `{{}}` for each name. `python benchmarks/json_page.py`
makes this page.

Units are in the names: `_ms` milliseconds, `_s` seconds, `_bytes`, `_percent`; shares are 0 to 1. An
*estimate* is an object of `value`, `low` and `high`, the ends of the 95 % confidence interval. What was not
requested, or is not known, is `null` or empty, and so is a number that is not finite, which JSON can't
represent. Intervals are of the one process that measured: only `cases` has several, which `--save` and
`--compare` measure.
"""


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """The page: a section for each object of the document."""
    return "\n".join([HEAD, *sections("document", BenchResult, {})])


def sections(path: str, described: type, seen: dict[type, str]) -> Iterator[str]:
    """The section of a dataclass, and those of the dataclasses in its fields.

    Args:
        path: Path of the object in the document.
        described: Dataclass to describe.
        seen: Dataclasses that have a section, with its path; a second object of a class refers to it.
    """
    if described in seen:
        yield f"## `{path}`\n\nAs `{seen[described]}`.\n"
        return
    seen[described] = path
    summary = first_paragraph(described)
    rows = "\n".join(f"| `{name}` | {text} |" for name, text in entries(described))
    yield f"## `{path}`\n\n{summary}\n\n| field | meaning |\n|---|---|\n{rows}\n"
    for name, kind in json_fields(described).items():
        yield from nested(name if path == "document" else f"{path}.{name}", kind, seen)


def nested(path: str, kind: Any, seen: dict[type, str]) -> Iterator[str]:
    """The sections of the dataclasses in an annotation."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if is_dataclass(kind):
        if kind is not Estimate:
            yield from sections(path, typing.cast("type", kind), seen)
    elif origin in (typing.Union, types.UnionType):
        for part in args:
            yield from nested(path, part, seen)
    elif origin is tuple:
        yield from nested(f"{path}[]", args[0], seen)
    elif origin in (dict, Mapping):
        yield from nested(f"{path}.{{}}", args[1], seen)


def json_fields(described: Any) -> dict[str, Any]:
    """Annotations of the fields that are in JSON, by name, those of derived figures last."""
    hints = typing.get_type_hints(described)
    names = [f.name for f in fields(described) if f.metadata.get("json", True)]
    derived = getattr(described, "JSON_PROPERTIES", ())
    annotations = {name: hints[name] for name in names}
    return annotations | {n: typing.get_type_hints(getattr(described, n).fget)["return"] for n in derived}


def entries(described: Any) -> Iterator[tuple[str, str]]:
    """Name and meaning of each field."""
    texts = attribute_texts(described)
    for name, kind in json_fields(described).items():
        text = texts.get(name) or first_paragraph(getattr(described, name))
        text = re.sub(r"\bNone\b", "`null`", text.replace("``", "`"))
        yield name, f"{text} An estimate." if Estimate in (kind, *typing.get_args(kind)) else text


def first_paragraph(described: Any) -> str:
    """The first paragraph of a docstring, as one line."""
    text = (inspect.getdoc(described) or "").split("\n\n")[0].replace("``", "`")
    return re.sub(r"\bNone\b", "`null`", " ".join(text.split()))


if __name__ == "__main__":
    main()
