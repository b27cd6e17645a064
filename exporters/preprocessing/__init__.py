"""Preprocessing as nodes of the graph: an image goes in as it was decoded, one step a file.

The files in the order of the data: `size`, `resize`, `crop`, `channels`, `inversion`, `padding`,
`normalize`; `add` puts them together. Images are NHWC up to `channels`: Resize is as fast on them as on NCHW,
and the small image is cheaper to transpose than the large one.
"""

from __future__ import annotations

from cnntk.exporters.preprocessing.add import PreprocessingRecord, add_preprocessing

__all__ = ["PreprocessingRecord", "add_preprocessing"]
