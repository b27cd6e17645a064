"""An artifact that states preprocessing and labels, of a file that does not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from cnntk.exporters.artifact import copy_artifact
from cnntk.exporters.options import ExportOptions
from cnntk.runtime.engine import Engine
from cnntk.runtime.files import scratch_folder
from cnntk.runtime.preprocessing.choice import agreed_preprocessing

__all__ = ["complete_artifact"]


@contextmanager
def complete_artifact(engine: Engine, options: ExportOptions) -> Iterator[Path]:
    """Yields an artifact with the preprocessing and labels of the options, temporary unless the file is one.

    Another ``.onnx`` file is exported with the options. Of an artifact without preprocessing, or with numbers
    for labels, a copy is made whose spec states them; whoever reads the images preprocesses them then, not
    the graph.

    Raises:
        UsageError: The preprocessing does not fit the input, or the artifact states another.
        CnntkError: The export fails.
    """
    file, spec = Path(engine.name), engine.spec
    changed = spec
    if spec is not None:
        preprocessing = agreed_preprocessing(
            engine.name, spec.preprocessing, engine.inputs[0], options.preprocessing
        )
        changed = replace(spec, preprocessing=preprocessing, labels=tuple(options.labels or spec.labels))
        if changed == spec:
            yield file
            return
    with scratch_folder() as folder:
        artifact = folder / file.name
        if changed is not None:
            copy_artifact(file, artifact, changed)
        else:
            from cnntk.exporters._pipeline import export  # needs torch, which an artifact does not

            export(file, artifact, options)
        yield artifact
