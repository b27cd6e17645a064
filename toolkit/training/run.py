"""`train`: from data to a checkpoint."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from cnntk.runtime.errors import MissingDependency

try:
    import safetensors  # noqa: F401
    import torch
except ImportError as error:
    raise MissingDependency(
        'training needs torch and safetensors; run: pip install "cnntk[train]"'
    ) from error

from torch import nn

from cnntk.data import FileImages, Split, open_data, prepare
from cnntk.models.checkpoint import save_checkpoint
from cnntk.runtime.artifact.spec import ModelSpec, Network, Preprocessing, TensorSpec
from cnntk.training.arguments import check_arguments
from cnntk.training.batches import Batches
from cnntk.training.device import torch_device
from cnntk.training.folder import RunFolder
from cnntk.training.loop import Loop
from cnntk.training.network import TrainPlan, plan_for
from cnntk.training.options import Settings, TrainOptions, settings_for
from cnntk.training.preprocessing import measure_preprocessing
from cnntk.training.progress import TrainProgress
from cnntk.training.report import EpochResult, TrainReport
from cnntk.training.resuming import DATA_LOCATION, TrainRequest, check_unchanged, data_location
from cnntk.training.seeding import Purpose, seeded
from cnntk.training.state import TrainingState
from cnntk.version import __version__

__all__ = ["train"]


def train(
    network: str | Network | nn.Module | None = None,
    data: str | Split | None = None,
    output: str | os.PathLike[str] | None = None,
    options: TrainOptions | None = None,
    *,
    network_ref: Network | None = None,
    progress: TrainProgress | None = None,
    **fields: Any,
) -> TrainReport:
    """Trains a network and writes a checkpoint: a folder with ``model.safetensors`` and ``spec.json``.

    The weights are those after the last epoch; the test images only measure the accuracy. On a CPU the same
    arguments give the same weights, bit for bit, with the same versions and number of threads, whether the
    training was interrupted and resumed or not.

    Args:
        network: Name of a network of the zoo, ``package.module:function``, a `Network` that says its
            arguments, too, or a module, which is trained in place. Default: LeNet, or the body's network.
        data: ``digits`` (the default), ``mnist:DIR``, ``fashion-mnist:DIR``, ``cifar10:DIR``,
            ``folder:DIR``, or a `Split`.
        output: Folder of the checkpoint. Default: ``runs/NETWORK-DATA``.
        options: Options of the training.
        network_ref: How to build a module that is passed as ``network`` again, for `ModelSpec.network`.
        progress: Receiver of the progress.
        **fields: Fields of `TrainOptions` that replace those of ``options``.

    Raises:
        UsageError: An option has no such value or excludes another, or the folder exists.
        DataError: The data is missing, corrupt or mismatched.
        DeviceUnavailable: torch can't use the device.
        TrainingDiverged: The loss is no longer finite.
    """
    options = replace(options or TrainOptions(), **fields)
    folder = check_arguments(network, data, output, options)
    before = _Before(folder.finished(), folder.state()) if options.resume else _Before()
    request = TrainRequest(network, data, options)
    if before.settings:
        request = request.completed(before.settings, folder.path)
    return _job(request, network_ref, folder).run(progress or TrainProgress(), before)


@dataclass(frozen=True, eq=False)
class _Before:
    """Result of an earlier run: its report where it is finished, else the state that it reached, if any."""

    report: TrainReport | None = None
    state: TrainingState | None = None

    @property
    def settings(self) -> Mapping[str, Any]:
        """Settings of the earlier run; empty where there was none."""
        result = self.report or self.state
        return result.settings if result else {}


def _job(request: TrainRequest, network_ref: Network | None, folder: RunFolder) -> _Job:
    options, data = request.options, "digits" if request.data is None else request.data
    split = open_data(data) if isinstance(data, str) else data
    if options.max_images is not None:
        split = split.limited(options.max_images)
    with seeded(Purpose.WEIGHTS, options.seed or 0):
        plan = plan_for(request.network, split, options, network_ref)
    settings = settings_for(options, plan.recipe, split)
    device = torch_device(options.device or "cpu")
    return _Job(plan, split, data_location(data), options, settings, device, folder)


@dataclass(frozen=True, eq=False)
class _Job:
    """A training whose inputs are decided, before it starts."""

    plan: TrainPlan
    split: Split
    data_location: str | None
    options: TrainOptions
    settings: Settings
    device: torch.device
    folder: RunFolder

    def run(self, progress: TrainProgress, before: _Before) -> TrainReport:
        settings = self._all_settings()
        if before.settings:
            check_unchanged(settings, before.settings, self.folder.path)
        if before.report:
            progress.note(f"{self.folder.path}: the training is finished, there is nothing to resume")
            return replace(before.report, status="finished before", checkpoint=str(self.folder.path))
        loop, preprocessing = self._prepare(progress)
        state = self._begin(before.state, settings, loop)
        history = self._train(loop, state, preprocessing, progress)
        report = self._report(loop.module, history, settings, resumed=bool(state.history))
        self.folder.finish(report)
        return report

    def _prepare(self, progress: TrainProgress) -> tuple[Loop, Preprocessing]:
        """Resizes the images and builds the network with its initial weights."""
        if self.plan.note:
            progress.note(self.plan.note)
        with seeded(Purpose.WEIGHTS, self.settings.seed):
            module = self.plan.build(self.settings.init, len(self.split.classes)).to(self.device)
        if isinstance(self.split.train.images, FileImages):
            progress.note(f"reading {len(self.split.train) + len(self.split.test):,} images")
        train = prepare(self.split.train.images, self.plan.preprocessing)
        preprocessing = self.plan.preprocessing if self.plan.pretrained else measure_preprocessing(train)
        test = prepare(self.split.test.images, self.plan.preprocessing)
        train_batches = Batches.of(self.split.train, train, self.device)
        test_batches = Batches.of(self.split.test, test, self.device)
        return Loop(module, train_batches, test_batches, preprocessing, self.settings), preprocessing

    def _begin(self, state: TrainingState | None, settings: Mapping[str, Any], loop: Loop) -> TrainingState:
        """Restores the state of an earlier run, or writes a first one, so that a kill can be resumed."""
        if state:
            state.restore(loop.module, loop.optimizer)
            return state
        self.folder.start()
        state = TrainingState(settings)
        state.save(self.folder.state_file)
        return state

    def _train(
        self, loop: Loop, state: TrainingState, preprocessing: Preprocessing, progress: TrainProgress
    ) -> tuple[EpochResult, ...]:
        history = state.history
        if history:  # the kill may have come between the state and the checkpoint
            self._save(loop.module, preprocessing, history)
        progress.begin(self.settings.epochs, loop.steps, len(history))
        try:
            for epoch in range(len(history) + 1, self.settings.epochs + 1):
                history = (*history, loop.run_epoch(epoch, progress))
                TrainingState.of(loop.module, loop.optimizer, state.settings, history).save(
                    self.folder.state_file
                )
                self._save(loop.module, preprocessing, history)
                progress.epoch(history[-1])
        except KeyboardInterrupt:
            progress.note(f"stopped after epoch {len(history)}; continue with the same command and --resume")
            raise
        finally:
            progress.end()
        return history

    def _save(self, module: nn.Module, p: Preprocessing, history: tuple[EpochResult, ...]) -> None:
        spec = ModelSpec(
            name=self.plan.name,
            labels=self.split.classes,
            inputs=(TensorSpec("input", "float32", ("N", p.channels, p.height, p.width)),),
            preprocessing=p,
            network=self.plan.network,
            provenance=self._provenance(history),
        )
        save_checkpoint(self.folder.path, module, spec)

    def _provenance(self, history: tuple[EpochResult, ...]) -> dict[str, Any]:
        """Origin of the weights, without date and path, so that equal runs give equal files."""
        return {
            "data": self.split.name,
            "train_images": len(self.split.train),
            "test_images": len(self.split.test),
            "accuracy": history[-1].accuracy,
            **asdict(self.settings),
            "epochs": len(history),
            "device": self.device.type,
            "torch": torch.__version__,
            "cnntk": __version__,
        }

    def _all_settings(self) -> dict[str, Any]:
        """Everything that decides on the weights, and the location of the data, as JSON data."""
        network, p = self.plan.network, self.plan.preprocessing
        settings = {
            "data": self.split.name,
            "data_fingerprint": self.split.fingerprint(),
            DATA_LOCATION: self.data_location,
            "body": os.path.abspath(self.options.body) if self.options.body is not None else None,
            "network": network.factory if network else self.plan.name,
            "image_size": p.height,
            "max_images": self.options.max_images,
            "network_arguments": network.kwargs if network and not self.plan.is_module else None,
            **asdict(self.settings),
            "device": self.device.type,
        }
        return dict(json.loads(json.dumps(settings)))

    def _report(
        self, module: nn.Module, history: tuple[EpochResult, ...], settings: dict[str, Any], *, resumed: bool
    ) -> TrainReport:
        parameters = list(module.parameters())
        return TrainReport(
            network=self.plan.name,
            data=self.split.name,
            status="resumed" if resumed else "trained",
            accuracy=history[-1].accuracy,
            history=history,
            seconds=round(sum(epoch.seconds for epoch in history), 3),
            checkpoint=str(self.folder.path),
            parameters=sum(p.numel() for p in parameters),
            trainable_parameters=sum(p.numel() for p in parameters if p.requires_grad),
            classes=len(self.split.classes),
            train_images=len(self.split.train),
            test_images=len(self.split.test),
            device=str(self.device),
            settings=settings,
        )
