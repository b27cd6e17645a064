"""PreparedImages images are the same whether they fit in memory or not."""

import numpy as np

from cnntk.data.images import ArrayImages
from cnntk.data.prepared import prepare
from cnntk.runtime.artifact.spec import Preprocessing

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 9, 9, 1), dtype=np.uint8)


def test_memory_makes_no_difference() -> None:
    # "shortest" with a crop and an inversion: done twice they would show.
    p = Preprocessing("gray", 6, 6, "shortest", crop_ratio=0.5, invert="always")
    kept, on_demand = (prepare(ArrayImages(PIXELS), p, memory_bytes) for memory_bytes in (180, 179))
    assert kept.pixels is not None
    assert on_demand.pixels is None
    np.testing.assert_array_equal(kept.take([3, 1]), on_demand.take([3, 1]))
    assert len(kept) == len(on_demand) == 5
