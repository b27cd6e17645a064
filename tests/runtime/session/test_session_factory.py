"""Weights that processes share."""

import logging
from pathlib import Path

import numpy as np
import pytest

from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import UsageError

IMAGES = np.random.default_rng(0).random((2, 3, 8, 8), dtype=np.float32)


def mapped(file: Path) -> list[str]:
    """How the file is in this process' memory, as the system tells it."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return [line.split()[1] for line in lines if line.endswith(str(file))]


def test_shared_weights_are_mapped_and_nothing_is_written_back(pair: Path) -> None:
    data = pair.parent / Engine(pair).spec.data.file
    expected = Engine(pair).run({"input": IMAGES})["logits"]
    engine = Engine(pair, share_weights=True)
    assert mapped(data)
    assert all(mode.endswith("p") for mode in mapped(data))
    np.testing.assert_allclose(engine.run({"input": IMAGES})["logits"], expected, atol=1e-6)
    assert engine.self_test().holds
    options = engine._session.get_session_options()
    assert options.get_session_config_entry("session.disable_prepacking") == "1"


def test_in_a_cache_they_stay_packed(pair: Path, tmp_path: Path) -> None:
    expected = Engine(pair).run({"input": IMAGES})["logits"]
    for _ in range(2):
        engine = Engine(pair, share_weights=True, cache=tmp_path / "cache")
        (data,) = (tmp_path / "cache").glob("*/model.data")
        assert mapped(data)
        assert np.array_equal(engine.run({"input": IMAGES})["logits"], expected)


def test_weights_inside_the_file_are_not_shared(sealed_onnx: Path) -> None:
    with pytest.raises(UsageError, match=r"sealed\.onnx: its weights are inside the file.*--external-data"):
        Engine(sealed_onnx, share_weights=True)


def test_files_without_a_digest_are_logged(
    foreign_onnx: Path, sealed_onnx: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="cnntk.runtime"):
        Engine(sealed_onnx)
        assert caplog.text == ""
        Engine(foreign_onnx)
    assert f"{foreign_onnx}: has no digest, so damage can't be detected" in caplog.text
