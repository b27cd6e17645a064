"""Preprocessing as nodes of the graph: the model's input becomes the image as it was decoded.

The steps in order: `resize` with crop or padding, channels and layout (`add`), `inversion`, `normalize`;
`add` assembles them. Images are NHWC up to the change of layout: Resize is as fast on them as on NCHW, and
the small image is cheaper to transpose than the large one. Images for large networks are resized by matrix
products instead (`products`).
"""

from __future__ import annotations

from cnntk.exporters.preprocessing._add import PreprocessingRecord, add_preprocessing
from cnntk.exporters.preprocessing._products import with_resize_form

__all__ = ["PreprocessingRecord", "add_preprocessing", "with_resize_form"]
