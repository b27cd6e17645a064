from pathlib import Path

import numpy as np
import pytest

from cnntk.runtime import Engine
from cnntk.runtime.errors import InputError, NonFiniteOutput

BATCH = np.random.default_rng(0).random((3, 1, 4, 4), dtype=np.float32)


def test_a_binding_answers_as_the_engine_does(tiny_onnx: Path) -> None:
    engine = Engine(tiny_onnx)
    binding = engine.bind({"input": BATCH})
    first = binding.run()
    second = binding.run({"input": -BATCH})
    assert np.array_equal(first["logits"], engine.run({"input": BATCH})["logits"])
    assert np.array_equal(second["logits"], engine.run({"input": -BATCH})["logits"])
    assert not np.array_equal(first["logits"], second["logits"])


def test_the_callers_array_is_not_the_bound_memory(tiny_onnx: Path) -> None:
    engine, mine = Engine(tiny_onnx), BATCH.copy()
    binding = engine.bind({"input": mine})
    before = binding.run()["logits"]
    mine[:] = 0
    assert np.array_equal(binding.run()["logits"], before)
    binding.run({"input": -BATCH})
    assert not mine.any()


def test_answers_that_stay_are_dlpack_and_written_again(tiny_onnx: Path) -> None:
    engine = Engine(tiny_onnx)
    binding = engine.bind({"input": BATCH}, outputs="device")
    held = np.from_dlpack(binding.run()["logits"])
    assert np.array_equal(held, engine.run({"input": BATCH})["logits"])
    binding.run({"input": -BATCH})
    assert np.array_equal(held, engine.run({"input": -BATCH})["logits"])


@pytest.mark.parametrize(
    "wrong",
    [{"input": BATCH[:2]}, {"input": BATCH.astype(np.float64)}, {"image": BATCH}, {"input": [1.0]}],
    ids=["shape", "dtype", "name", "list"],
)
def test_what_was_not_bound_is_refused(tiny_onnx: Path, wrong: dict) -> None:
    binding = Engine(tiny_onnx).bind({"input": BATCH})
    with pytest.raises(InputError, match=r"bound input: float32 \[3, 1, 4, 4\]; got"):
        binding.run(wrong)
    with pytest.raises(InputError, match="expected input"):
        Engine(tiny_onnx).bind({"image": BATCH})


def test_outputs_stay_on_host_or_device(tiny_onnx: Path) -> None:
    with pytest.raises(ValueError, match="'host' or 'device'"):
        Engine(tiny_onnx).bind({"input": BATCH}, outputs="gpu")


def test_foreign_byte_order_is_not_misread(tiny_onnx: Path) -> None:
    engine = Engine(tiny_onnx)
    outputs = engine.bind({"input": BATCH.astype(">f4")}).run()
    assert np.array_equal(outputs["logits"], engine.run({"input": BATCH})["logits"])


def test_answers_that_are_no_numbers_raise(tiny_onnx: Path) -> None:
    spoilt = np.full_like(BATCH, np.nan)
    with pytest.raises(NonFiniteOutput, match="output logits contains NaN"):
        Engine(tiny_onnx).bind({"input": BATCH}).run({"input": spoilt})
    lax = Engine(tiny_onnx, allow_nonfinite=True).bind({"input": BATCH})
    assert np.isnan(lax.run({"input": spoilt})["logits"]).all()
