"""`Baseline`: a stored measurement that later ones are compared with, and its file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from cnntk.benchmark.latency import Case
from cnntk.benchmark.machine import Machine
from cnntk.runtime.codec import as_json, decode
from cnntk.runtime.errors import UsageError
from cnntk.runtime.files import readable_file, write_bytes

__all__ = ["MEASURE_AGAIN", "Baseline", "load_baseline", "save_baseline"]

_FORMAT, _VERSION = "cnntk baseline", 1

MEASURE_AGAIN = "measure it again with --save (save)"
"""Advice at the end of messages about a baseline that can't be used."""


@dataclass(frozen=True)
class Baseline:
    """A stored measurement that later ones are compared with.

    Attributes:
        machine: Machine that was measured on.
        cases: Measurements by name.
        created: Time of the measurement, ISO 8601 in UTC.
    """

    JSON_PROPERTIES: ClassVar = ("format", "version")

    machine: Machine
    cases: Mapping[str, Case]
    created: str

    @property
    def format(self) -> str:
        """Name of the file format."""
        return _FORMAT

    @property
    def version(self) -> int:
        """Version of the file format."""
        return _VERSION

    @classmethod
    def create(cls, machine: Machine, cases: Mapping[str, Case]) -> Baseline:
        """A baseline of measurements of now."""
        return cls(machine, dict(cases), datetime.now(UTC).isoformat(timespec="seconds"))

    def check_machine(self, machine: Machine, *, allow_other: bool = False) -> None:
        """Refuses a machine of another speed than the baseline's.

        Raises:
            UsageError: The machines differ, and that is not allowed.
        """
        differences = machine.differences(self.machine)
        if differences and not allow_other:
            raise UsageError(
                f"the baseline is of another machine ({'; '.join(differences)}): {MEASURE_AGAIN} on this "
                "one, or compare all the same with --allow-other-machine"
            )


def save_baseline(path: str | os.PathLike[str], baseline: Baseline) -> None:
    """Writes a baseline to a file, whole or not at all.

    Raises:
        UsageError: The file can't be written.
    """
    write_bytes(Path(path), (json.dumps(as_json(baseline), indent=1) + "\n").encode())


def load_baseline(path: str | os.PathLike[str]) -> Baseline:
    """Reads a file that `save_baseline` wrote.

    Raises:
        UsageError: The file does not exist, is not a baseline, is damaged or of another version.
    """
    file = readable_file(path, "a baseline, as cnntk bench --save writes it")
    data = _baseline_data(file.read_bytes())
    if data is None:
        raise UsageError(f"{file}: not a valid baseline; use a file that --save (save) wrote")
    if data.get("version") != _VERSION:
        raise UsageError(
            f"{file}: baseline version {data.get('version')!r}, expected {_VERSION}; update cnntk, or "
            f"{MEASURE_AGAIN}"
        )
    try:
        baseline: Baseline = decode(Baseline, data, "baseline")
    except ValueError as error:
        raise UsageError(f"{file}: the baseline is damaged: {error}; {MEASURE_AGAIN}") from error
    return baseline


def _baseline_data(content: bytes) -> dict[str, Any] | None:
    """Data of a baseline of any version; None for other content."""
    try:
        data = json.loads(content)
    except ValueError:  # not JSON, or not text
        return None
    return data if isinstance(data, dict) and data.get("format") == _FORMAT else None
