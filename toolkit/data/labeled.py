"""Image files whose classes are those of a model."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnntk.inference.finding import expand
from cnntk.runtime.errors import DataError, UsageError
from cnntk.runtime.images.reading import IMAGE_SUFFIXES

__all__ = ["LabeledFiles", "labeled_files", "places_of"]

TABLE = "labels.csv"
"""Of a folder without a folder per class: the columns ``file`` and ``label``."""


@dataclass(frozen=True)
class LabeledFiles:
    """Image files and their classes.

    Attributes:
        paths: of the files.
        labels: of each, its place among the model's.
        unreadable: what is wrong with files that were found but can't be, a line each.
        notes: what was left out, and why.
    """

    paths: tuple[str, ...]
    labels: tuple[int, ...]
    unreadable: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def drawn(self, limit: int, seed: int) -> LabeledFiles:
        """At most ``limit`` of them, of all classes alike as far as they go; always the same for a seed."""
        if len(self) <= limit:
            return self
        order: list[int] = np.random.RandomState(seed).permutation(len(self)).tolist()
        rounds, seen = [], Counter[int]()
        for index in order:
            rounds.append(seen[self.labels[index]])
            seen[self.labels[index]] += 1
        # One of each class, then a second one, ...; of the last round those that were drawn first.
        places = sorted(range(len(order)), key=rounds.__getitem__)
        kept = sorted(order[place] for place in places[:limit])
        note = (
            f"{limit} of {len(self)} images are used, of all classes alike, drawn with seed {seed} "
            "(--max-images)"
        )
        paths, labels = tuple(self.paths[i] for i in kept), tuple(self.labels[i] for i in kept)
        return LabeledFiles(paths, labels, self.unreadable, (*self.notes, note))


def labeled_files(folder: str | os.PathLike[str], labels: Sequence[str]) -> LabeledFiles:
    """The images of a folder that has a folder per class, or a ``labels.csv``.

    Args:
        folder: its own folders bear the model's labels, or their numbers from 0 on.
        labels: of the model.

    Raises:
        DataError: there is no image, or none whose class the model knows.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; name one that has a folder per class")
    if not labels:
        raise DataError(
            f"{folder}: the model does not say what its classes are called; export it with labels"
        )
    errors: list[str] = []
    table = folder / TABLE
    found = _from_table(table) if table.is_file() else _from_folders(folder, errors)
    names = list(dict.fromkeys(name for _, name in found))
    known = places_of(names, labels)
    if not known:
        raise DataError(
            f"{folder}: no class of it is one of the model's: {_few(names)}; expected {_few(labels)}, "
            f"or numbers from 0 to {len(labels) - 1}"
        )
    unknown = [name for name in names if name not in known]
    note = f"left out, as no label of the model (or of several) is called so: {_few(unknown)}"
    kept = [(path, known[name]) for path, name in found if name in known]
    return LabeledFiles(
        tuple(path for path, _ in kept),
        tuple(label for _, label in kept),
        tuple(errors),
        (note,) if unknown else (),
    )


def _from_folders(folder: Path, errors: list[str]) -> list[tuple[str, str]]:
    """Files and the names of their folders; ``errors`` gets what can't be read."""
    found = []
    for inner in sorted(f for f in folder.iterdir() if f.is_dir() and not f.name.startswith(".")):
        try:
            entries = list(expand([str(inner)]))
        except UsageError as error:
            errors.append(str(error))
            continue
        found += [(entry, inner.name) for entry in entries if isinstance(entry, str)]
        errors += [str(entry.error) for entry in entries if not isinstance(entry, str)]
    if not found:
        kinds = ", ".join(sorted(IMAGE_SUFFIXES))
        raise DataError(
            f"{folder}: holds no labeled image; expected a folder of images per class ({kinds}), or {TABLE}"
        )
    return found


def _from_table(file: Path) -> list[tuple[str, str]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: can't be read ({error})") from error
    if not rows:
        raise DataError(f"{file}: holds no image; expected the columns file and label, and a row an image")
    for number, row in enumerate(rows, start=2):
        if not row.get("file") or not row.get("label"):
            raise DataError(
                f"{file}: row {number} has no file or no label; expected the columns file and label"
            )
    return [(str(file.parent / row["file"]), row["label"]) for row in rows]


def places_of(names: Iterable[str], labels: Sequence[str]) -> dict[str, int]:
    """The place of each name among the labels: by the label, else all by their numbers; or none."""
    exact, alike = _places(labels), _places([_plain(label) for label in labels])
    by_label, by_number = {}, {}
    for name in names:
        place = exact.get(name, alike.get(_plain(name)))
        if place is not None and place >= 0:
            by_label[name] = place
        if name.isdecimal() and int(name) < len(labels):
            by_number[name] = int(name)
    return by_label if len(by_label) >= len(by_number) else by_number


def _places(labels: Sequence[str]) -> dict[str, int]:
    """-1 for a label that several classes bear."""
    found: dict[str, int] = {}
    for index, label in enumerate(labels):
        found[label] = -1 if label in found else index
    return found


def _plain(name: str) -> str:
    """Folders can't bear every label: upper and lower case, signs and blanks are taken alike."""
    return re.sub(r"[\W_]+", " ", name.casefold()).strip()


def _few(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:4])) + (f", ... ({len(names)})" if len(names) > 4 else "")
