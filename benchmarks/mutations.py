"""Wrong exports that must be found: weights, attributes, nodes and specs are changed, one at a time.

    python benchmarks/mutations.py            # all, in four networks: about 15 minutes
    python benchmarks/mutations.py --quick    # a few of each kind, in one network

A graph is changed between its passes and its checks. All checks of an export then run on it, and its
self-test: those that refuse it are counted. How far a change moves the outputs is measured in bounds of the
export, on the inputs of its checks and on 24 others: a change that moves any output by more than its bound
must be found. Changes that move none are counted apart. Finished files are changed, too.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import options, print_table
from graph_mutations import WEIGHT_EDITS, Mutation, node_mutations, weight_mutations
from torch import nn

from cnntk.exporters._pipeline import export
from cnntk.exporters._prepare import prepare
from cnntk.exporters.artifact import append_spec, write_hashed
from cnntk.exporters.checks._candidate import Candidate
from cnntk.exporters.checks._order import CHECKS
from cnntk.exporters.checks.limits import SOFTMAX_ERROR
from cnntk.exporters.checks.reference import reference_outputs
from cnntk.exporters.options import ExportOptions
from cnntk.exporters.self_test_vectors import make_self_test
from cnntk.exporters.source import Source
from cnntk.exporters.sources import open_source
from cnntk.runtime.artifact.canonical import canonical_inputs
from cnntk.runtime.artifact.self_test import run_self_test
from cnntk.runtime.artifact.spec import ModelSpec, Preprocessing
from cnntk.runtime.engine import Engine
from cnntk.runtime.errors import CnntkError
from cnntk.training.run import train

__all__ = ["WEIGHT_EDITS", "Mutation", "Subject", "node_mutations", "sources", "weight_mutations"]

Arrays = dict[str, Any]
NOT_OF_THE_GRAPH = (
    "check_cast",
    "list_samples",
    "check_finite_outputs",
    "check_conditioning",
    "check_capture",
)
"""Checks of the source and its program, which a changed graph can't fail."""


@dataclass(frozen=True)
class Trial:
    """What a mutation did.

    Attributes:
        mutation: Mutation that was applied.
        moved: Largest change of an output, in bounds; infinite where the graph does not run any more.
        found_by: Names of the checks that refused it.
    """

    mutation: Mutation
    moved: float
    found_by: tuple[str, ...]


class Subject:
    """A sound candidate with all that its mutants are compared with."""

    def __init__(self, source: Source) -> None:
        self.name = source.name
        candidate = prepare(source, ExportOptions()).candidate
        expected = reference_outputs(
            candidate.reference, candidate.inputs, candidate.eps, candidate.batch_axes
        )
        self.candidate = replace(candidate, wait_for_reference=lambda: expected)
        self.self_test = make_self_test(candidate)
        self.inputs = [*self._check_inputs(), *self._other_inputs()]
        with tempfile.TemporaryDirectory() as folder:
            self.outputs = _outputs(self._engine(self.candidate, Path(folder)), self.inputs)
        self.limits = [self._limits(i, outputs) for i, outputs in enumerate(self.outputs)]

    def trial(self, mutation: Mutation) -> Trial | None:
        """Applies a mutation; None where there is nothing to change."""
        model, interface = self.candidate.model.clone(), self.candidate.interface
        changed = interface.model.clone()
        if not mutation.change(changed):
            return None
        mutation.change(model)
        if mutation.spec is not None and interface.preprocessing is not None:
            interface = replace(interface, preprocessing=mutation.spec(interface.preprocessing))
        mutant = replace(self.candidate, model=model, interface=replace(interface, model=changed))
        with tempfile.TemporaryDirectory() as folder, np.errstate(all="ignore"):
            found_by = _failures(mutant, "static")
            try:
                engine = self._engine(mutant, Path(folder))
                outputs = _outputs(engine, self.inputs)
            except CnntkError:
                return Trial(mutation, np.inf, (*found_by, "onnxruntime"))
            running = replace(mutant, file=Path(folder) / "model.onnx", run=engine.run)
            found_by += _failures(running, "run", "images")
            spec = ModelSpec(self.name, (), interface.inputs, self_test=self.self_test)
            if not all(check.holds for check in run_self_test(engine.run, spec, self.name).worst):
                found_by += ("self-test",)
        moved = np.inf if mutation.spec is not None else self._moved(outputs)
        return Trial(mutation, moved, found_by)

    def _engine(self, candidate: Candidate, folder: Path) -> Engine:
        file = folder / "model.onnx"
        written = write_hashed(candidate.interface.model, file)
        append_spec(file, ModelSpec(self.name, (), candidate.interface.inputs, head="none"), written)
        return Engine(file, allow_nonfinite=True, threads=1)

    def _check_inputs(self) -> Iterator[Arrays]:
        inputs = self.candidate.inputs
        for i in range(len(inputs.kinds)):
            yield inputs.file_batch(1, i)

    def _other_inputs(self) -> Iterator[Arrays]:
        """Images of the usual size, and where the file resizes, of other sizes, too."""
        interface = self.candidate.interface
        p = interface.preprocessing
        usual = {} if p is None else p.image_sizes
        for seed in range(24):
            sizes = {"N": 1, **usual}
            if seed % 2 and "H" in sizes:
                sizes |= {"H": (3, 40, 90, 200)[seed // 2 % 4], "W": (5, 70, 60, 33)[seed // 2 % 4]}
            yield canonical_inputs(interface.inputs, "ramp" if seed % 3 == 0 else "noise", 11 + seed, sizes)

    def _limits(self, index: int, outputs: Arrays) -> dict[str, float]:
        """Bound of each output: the export's, or for another input the largest one of ordinary inputs."""
        expected, ordinary = self.candidate.expected, self.candidate.inputs.ordinary
        limits = {}
        for name, bounds in expected.bounds.items():
            if index < len(bounds):
                limits[name] = float(bounds[index])
            else:
                scales = np.abs(expected.float64[name]).reshape(len(bounds), -1).max(axis=1)
                relative = float(np.nanmax((bounds / np.maximum(scales, 1e-30))[ordinary]))
                limits[name] = relative * float(np.abs(outputs[name]).max())
        if "logits" in limits:
            limits.setdefault("probabilities", limits["logits"] / 2 + SOFTMAX_ERROR)
        return limits

    def _moved(self, outputs: Sequence[Arrays]) -> float:
        shares = [0.0]
        for before, after, limits in zip(self.outputs, outputs, self.limits, strict=True):
            for name, limit in limits.items():
                if before[name].shape != after[name].shape or not np.isfinite(after[name]).all():
                    return np.inf
                if np.isfinite(limit):
                    shares.append(float(np.abs(after[name] - before[name]).max()) / limit)
        return max(shares)


def _outputs(engine: Engine, inputs: Sequence[Arrays]) -> list[Arrays]:
    return [engine.run(arrays) for arrays in inputs]


def _failures(candidate: Candidate, *needs: str) -> tuple[str, ...]:
    """Names of the checks that refuse a candidate."""
    names = []
    for required, check in CHECKS:
        if required in needs and check.__name__ not in NOT_OF_THE_GRAPH:
            try:
                check(candidate)
            except CnntkError:
                names.append(check.__name__.removeprefix("check_"))
    return tuple(names)


class Residual(nn.Module):
    """Batch norms in two residual blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(8, 8, 3, 1, 1, bias=False),
                nn.BatchNorm2d(8),
                nn.ReLU(),
                nn.Conv2d(8, 8, 3, 1, 1),
                nn.BatchNorm2d(8),
            )
            for _ in range(2)
        )
        self.pool, self.head = nn.MaxPool2d(3, 2, 1), nn.Linear(8, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.stem(x))
        for block in self.blocks:
            x = (x + block(x)).relu()
        return self.head(x.mean(dim=(2, 3)))


def depthwise() -> nn.Module:
    """Depthwise and pointwise convolutions, GELU, average pooling with padding, LayerNorm."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.GELU(),
        nn.Conv2d(8, 8, 3, 1, 1, groups=8),
        nn.BatchNorm2d(8),
        nn.LeakyReLU(0.05),
        nn.Conv2d(8, 12, 1),
        nn.AvgPool2d(3, 2, 1, count_include_pad=False),
        nn.Flatten(),
        nn.LayerNorm(12 * 64),
        nn.Linear(12 * 64, 16),
        nn.Hardswish(),
        nn.Linear(16, 5),
    )


class Dead(nn.Module):
    """ReLU behind a channel that never fires, and one whose weights are pruned."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(12, 12)
        nn.init.constant_(self.layer.bias[:3], -100.0)
        nn.init.zeros_(self.layer.weight[5])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x).relu()


def grouped() -> nn.Module:
    """Grouped and transposed convolutions, a linear chain, dead units."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, groups=3),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.ConvTranspose2d(6, 8, 2, 2, groups=2),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        Dead(),
        nn.Linear(12, 4),
        nn.Linear(4, 40),
        nn.Linear(40, 5),
    )


def trained(module: nn.Module) -> nn.Module:
    """The network with batch statistics of its own activations."""
    module.train()
    with torch.no_grad():
        for _ in range(60):
            module(torch.randn(16, 3, 32, 32))
        for each in module.modules():
            if isinstance(each, nn.BatchNorm2d):
                each.weight.uniform_(0.5, 2)
                each.bias.normal_()
    return module.eval()


def with_preprocessing(name: str, module: nn.Module, p: Preprocessing) -> Source:
    """The network as a source of images of 32x32 pixels."""
    source = open_source(trained(module), ExportOptions(input_shape=(3, 32, 32)))
    return replace(source, name=name, preprocessing=p)


def sources(quick: bool) -> Iterator[Source]:
    """The networks, each with its preprocessing."""
    torch.manual_seed(0)
    p = Preprocessing(
        "rgb", 32, 32, "shortest", "bicubic", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    )
    yield with_preprocessing("residual", Residual(), replace(p, crop_ratio=0.875))
    if quick:
        return
    hot = replace(p, resize="stretch", interpolation="bilinear", color="bgr", std=(0.02, 0.03, 0.01))
    yield with_preprocessing("grouped, hot", grouped(), hot)
    yield with_preprocessing("depthwise", depthwise(), replace(p, levels="float32"))
    with tempfile.TemporaryDirectory() as folder:
        train("lenet", "digits", Path(folder) / "lenet", progress=False)
        yield open_source(str(Path(folder) / "lenet"), ExportOptions())


def changed_files(source: Source) -> Iterator[tuple[str, bool]]:
    """Changes of a finished file, and whether loading refuses each."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        module = source.module
        if module is None:
            raise ValueError(f"{source.name}: expected a module")
        export(module, file, input_shape=(3, 32, 32), preprocessing={"mean": "0.4,0.5,0.6"})
        data = file.read_bytes()
        rng = np.random.default_rng(0)
        places = {
            "a bit of the graph": (0, len(data) // 3),
            "a bit of the spec": (2 * len(data) // 3, len(data)),
        }
        for name, (first, last) in places.items():
            for at in rng.integers(first, last, 10):
                yield name, _is_refused(file, data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])
        for name, old, new in (
            ("labels permuted in the spec", b'"0", "1"', b'"1", "0"'),
            ("another mean in the spec", b'"mean": [0.4', b'"mean": [0.3'),
            ("another layout in the spec", b'"NCHW"', b'"NHWC"'),
        ):
            if old in data:
                yield name, _is_refused(file, data.replace(old, new))


def _is_refused(file: Path, data: bytes) -> bool:
    file.write_bytes(data)
    try:
        Engine(file)
    except CnntkError:
        return True
    return False


def main() -> None:
    args = options(__doc__).parse_args()
    trials: list[tuple[str, Trial]] = []
    for source in sources(args.quick):
        subject = Subject(source)
        mutations = [*weight_mutations(subject.candidate.interface.model), *node_mutations()]
        for mutation in mutations[:: 6 if args.quick else 1]:
            trial = subject.trial(mutation)
            if trial is not None:
                trials.append((subject.name, trial))
                if trial.moved > 1 and not trial.found_by:
                    print(f"MISSED: {subject.name}: {mutation.name}: {trial.moved:.3g} bounds", flush=True)
    files = Counter(changed_files(next(iter(sources(quick=True)))))
    print_table(
        [
            table_row(name, [t for n, t in trials if n == name])
            for name in dict.fromkeys(n for n, _ in trials)
        ],
        ("network", "mutations", "move an output", "of them found", "move none", "of them found"),
    )
    counts = Counter(check for _, trial in trials for check in trial.found_by)
    alone = Counter(trial.found_by[0] for _, trial in trials if len(trial.found_by) == 1)
    print_table(
        [(name, str(count), str(alone[name])) for name, count in counts.most_common()],
        ("check", "mutations found", "found by it alone"),
    )
    print_table(
        [(name, str(n + files[name, False]), str(n)) for (name, refused), n in files.items() if refused],
        ("finished file", "mutations", "refused by its digest"),
    )


def table_row(name: str, trials: Sequence[Trial]) -> tuple[str, ...]:
    """Counts of a network's trials."""
    moving, still = [t for t in trials if t.moved > 1], [t for t in trials if not t.moved > 1]
    counts = [str(sum(bool(t.found_by) for t in group)) for group in (moving, still)]
    return name, str(len(trials)), str(len(moving)), counts[0], str(len(still)), counts[1]


if __name__ == "__main__":
    main()
