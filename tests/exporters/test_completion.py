"""What a file does not state is stated in a temporary copy, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cnntk.exporters import ExportOptions, export
from cnntk.exporters.completion import complete_artifact
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import UsageError
from cnntk.shipped import shipped_checkpoint, shipped_model


def test_a_copy_states_it(tmp_path: Path) -> None:
    file = tmp_path / "arrays.onnx"
    export(shipped_checkpoint(), file, preprocess="none")
    engine = Engine(file)
    options = ExportOptions(preprocessing="mnist", labels=tuple("ABCDEFGHIJ"))
    with complete_artifact(engine, options) as artifact:
        copy = Engine(artifact)
        assert artifact != file
        assert copy.self_test().holds
    assert not artifact.exists()
    assert copy.spec.labels == tuple("ABCDEFGHIJ")
    assert copy.spec.preprocessing.mean == (0.1307,)
    assert copy.spec.fingerprints == engine.spec.fingerprints
    same = replace(copy.spec, labels=engine.spec.labels, preprocessing=None, digest=engine.spec.digest)
    assert same == engine.spec


def test_a_complete_file_is_taken_as_it_is() -> None:
    engine = Engine(shipped_model())
    with complete_artifact(engine, ExportOptions()) as artifact:
        assert artifact == shipped_model()
    with (
        pytest.raises(UsageError, match="states its own preprocessing"),
        complete_artifact(engine, ExportOptions(preprocessing="unit")),
    ):
        pass
