"""`train`: from data to a checkpoint."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cnntk.data import Dataset, FileImages, PreparedImages, Split, open_data, prepare
from cnntk.models.checkpoint import save_checkpoint
from cnntk.runtime.artifact.spec import ModelSpec, Network, Preprocessing, TensorSpec
from cnntk.training.batches import Batches
from cnntk.training.device import torch_device
from cnntk.training.folder import RunFolder
from cnntk.training.loop import Loop
from cnntk.training.network import Plan, plan_for
from cnntk.training.options import Settings, TrainOptions, settings_for
from cnntk.training.preprocessing import measured
from cnntk.training.progress import Silent, TrainProgress, for_stderr
from cnntk.training.report import EpochResult, TrainReport
from cnntk.training.resuming import DATA_PLACE, TrainRequest, check_same, place_of
from cnntk.training.seeding import Purpose, seeded
from cnntk.training.state import TrainingState
from cnntk.version import __version__

__all__ = ["train"]


def train(
    network: str | Network | nn.Module | None = None,
    data: str | Split | None = None,
    *,
    output: str | os.PathLike[str] | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    optimizer: str | None = None,
    learning_rate: float | None = None,
    weight_decay: float | None = None,
    schedule: str | None = None,
    augment: tuple[str, ...] | None = None,
    image_size: int | None = None,
    init: str | None = None,
    dropout: float | None = None,
    seed: int | None = None,
    device: str | None = None,
    body: str | os.PathLike[str] | None = None,
    freeze: bool | None = None,
    resume: bool = False,
    force: bool = False,
    network_ref: Network | None = None,
    progress: TrainProgress | bool = True,
) -> TrainReport:
    """Trains a network and leaves a checkpoint: a folder with ``model.safetensors`` and ``spec.json``.

    The weights are those after the last epoch. The test images only tell the accuracy.
    On a CPU the same arguments give the same weights, bit for bit, with the same versions and as many
    threads, whether the training was killed and resumed or not.

    Args:
        network: a name of the zoo, ``package.module:function``, a `Network` that has arguments, too, or a
            module, which is trained as it is. Default: LeNet, or the network of ``body``.
        data: ``digits`` (the default), ``mnist:DIR``, ``fashion-mnist:DIR``, ``cifar10:DIR``,
            ``folder:DIR``, or a `Split`.
        output: the folder. Default: ``runs/NETWORK-DATA``.
        epochs: as for all that follow, None leaves it to the network's recipe. Small data sets get more
            epochs than the recipe says: as many as make 1,000 steps, at most 100.
        batch_size: images a step.
        optimizer: ``adamw`` or ``sgd``.
        learning_rate: at its peak.
        weight_decay: of the optimizer.
        schedule: ``one-cycle``, ``cosine`` or ``constant``.
        augment: of ``shift``, ``zoom`` and ``flip`` those that are done, in this order; empty for none.
        image_size: height and width of the network's input, in pixels.
        init: ``xavier`` or ``normal``.
        dropout: for networks that have it.
        seed: of weights, order, augmentation and dropout; at least 0, which is the default.
        device: ``cpu`` (the default), ``cuda``, ``cuda:1``, or ``auto``; on CUDA in bfloat16 where it is
            supported.
        body: a checkpoint; its network with a new head is trained.
        freeze: the body's weights stay as they are.
        resume: goes on with what was begun in ``output``. What is left out is as it was begun; what is
            not has to be the same.
        force: starts again in a folder that exists.
        network_ref: how a module that is passed can be built again, for `ModelSpec.network`.
        progress: a bar or lines on standard error; False for silence.

    Raises:
        UsageError: an option has no such value, does not go with the others, or the folder exists.
        DataError: the data is missing, corrupt or mismatched.
        DeviceUnavailable: torch can't use the device.
        TrainingDiverged: the loss is no longer finite.
    """
    options = TrainOptions(
        epochs=epochs,
        batch_size=batch_size,
        optimizer=optimizer,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        schedule=schedule,
        augment=augment,
        image_size=image_size,
        init=init,
        dropout=dropout,
        seed=seed,
        device=device,
        body=body,
        freeze=freeze,
    )
    folder = RunFolder.open(output or _default_output(network, data, body), resume=resume, force=force)
    before = _Before(folder.finished(), folder.state()) if resume else _Before()
    request = TrainRequest(network, data, options)
    if before.settings:
        request = request.completed(before.settings, folder.path)
    return _job(request, network_ref, folder).run(_listener(progress), before)


@dataclass(frozen=True, eq=False)
class _Before:
    """What an earlier run left: a report where it is finished, else the state that it got to, if any."""

    report: TrainReport | None = None
    state: TrainingState | None = None

    @property
    def settings(self) -> Mapping[str, Any]:
        """What it was begun with; empty where it was not begun."""
        left = self.report or self.state
        return left.settings if left else {}


def _job(request: TrainRequest, network_ref: Network | None, folder: RunFolder) -> _Job:
    options, data = request.options, "digits" if request.data is None else request.data
    split = open_data(data) if isinstance(data, str) else data
    with seeded(Purpose.WEIGHTS, options.seed or 0):
        plan = plan_for(request.network, split, options, network_ref)
    settings = settings_for(options, plan.recipe, split)
    return _Job(plan, split, place_of(data), options, settings, torch_device(options.device or "cpu"), folder)


@dataclass(frozen=True, eq=False)
class _Job:
    """One training: what it is made of is decided, nothing is done yet."""

    plan: Plan
    split: Split
    data_place: str | None
    options: TrainOptions
    settings: Settings
    device: torch.device
    folder: RunFolder

    def run(self, progress: TrainProgress, before: _Before) -> TrainReport:
        chosen = self._chosen()
        if before.settings:
            check_same(chosen, before.settings, self.folder.path)
        if before.report:
            progress.note(f"{self.folder.path}: is finished, there is nothing to resume")
            return replace(before.report, status="finished before", checkpoint=str(self.folder.path))
        loop, preprocessing = self._prepare(progress)
        state = self._begin(before.state, chosen, loop)
        history = self._train(loop, state, preprocessing, progress)
        report = self._report(loop.module, history, chosen, resumed=bool(state.history))
        self.folder.finish(report)
        return report

    def _prepare(self, progress: TrainProgress) -> tuple[Loop, Preprocessing]:
        """The images at their size, the network with its first weights."""
        with seeded(Purpose.WEIGHTS, self.settings.seed):
            module = self.plan.build(self.settings.init, len(self.split.classes)).to(self.device)
        if isinstance(self.split.train.images, FileImages):
            progress.note(f"reading {len(self.split.train) + len(self.split.test):,} images")
        train = prepare(self.split.train.images, self.plan.preprocessing)
        preprocessing = self.plan.preprocessing if self.plan.trained_before else measured(train)
        test = prepare(self.split.test.images, self.plan.preprocessing)
        batches = (self._batches(self.split.train, train), self._batches(self.split.test, test))
        return Loop(module, *batches, preprocessing, self.settings), preprocessing

    def _batches(self, dataset: Dataset, images: PreparedImages) -> Batches:
        return Batches.of(dataset, images, self.device)

    def _begin(self, state: TrainingState | None, chosen: Mapping[str, Any], loop: Loop) -> TrainingState:
        """What an earlier run left, or a folder with the settings in it, so that a kill can be resumed."""
        if state:
            self.folder.sweep()
            state.restore(loop.module, loop.optimizer)
            return state
        self.folder.start()
        state = TrainingState(chosen)
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
            progress.note(f"stopped after epoch {len(history)}; go on with the same command and --resume")
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
        """Where the weights come from. No date and no path, so that runs can be compared to the bit."""
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

    def _chosen(self) -> dict[str, Any]:
        """All that decides on the weights, and where the data lies, as JSON gives it back."""
        network, p = self.plan.network, self.plan.preprocessing
        chosen = {
            "data": self.split.name,
            "data_fingerprint": self.split.fingerprint(),
            DATA_PLACE: self.data_place,
            "body": os.path.abspath(self.options.body) if self.options.body is not None else None,
            "network": network.factory if network else self.plan.name,
            "image_size": p.height,
            "network_arguments": network.kwargs if network and not self.plan.passed else None,
            **asdict(self.settings),
            "device": self.device.type,
        }
        return dict(json.loads(json.dumps(chosen)))

    def _report(
        self, module: nn.Module, history: tuple[EpochResult, ...], chosen: dict[str, Any], *, resumed: bool
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
            settings=chosen,
        )


def _default_output(
    network: str | Network | nn.Module | None, data: str | Split | None, body: str | os.PathLike[str] | None
) -> Path:
    if isinstance(network, nn.Module):
        name = type(network).__name__
    elif isinstance(network, Network):
        name = network.factory
    else:
        name = network or (Path(body).name if body is not None else "lenet")
    kind, _, place = (data.name if isinstance(data, Split) else data or "digits").partition(":")
    return Path("runs") / f"{name.rpartition(':')[2]}-{Path(place).name if kind == 'folder' else kind}"


def _listener(progress: TrainProgress | bool) -> TrainProgress:
    if isinstance(progress, bool):
        return for_stderr() if progress else Silent()
    return progress
