from pathlib import Path

import pytest

from cnntk.measuring.batches import batch_inputs, fixed_batch
from cnntk.runtime import Engine
from cnntk.runtime.errors import UsageError


def test_a_free_batch(tiny_onnx: Path) -> None:
    engine = Engine(tiny_onnx)
    assert fixed_batch(engine) is None
    assert batch_inputs(engine, 5)["input"].shape == (5, 1, 4, 4)


def test_a_fixed_batch(batch_of_3: Path) -> None:
    engine = Engine(batch_of_3)
    assert fixed_batch(engine) == 3
    assert batch_inputs(engine, 3)["input"].shape == (3, 1, 4, 4)


@pytest.mark.parametrize("batch", [1, 8])
def test_no_other_batch_stands_for_the_one_asked(batch_of_3: Path, batch: int) -> None:
    with pytest.raises(UsageError, match=f"its batch is fixed at 3, not {batch}; export it with a free one"):
        batch_inputs(Engine(batch_of_3), batch)
