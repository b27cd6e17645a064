"""A few of the benchmark's wrong exports: those that move an output are found, the right one passes."""

from __future__ import annotations

from types import ModuleType

STEP = 9
"""Every so many of the benchmark's mutations are tried: about fifteen in seconds."""


def test_mutations_that_move_an_output_are_found(mutations: ModuleType) -> None:
    subject = mutations.Subject(next(mutations.sources(quick=True)))
    unchanged = subject.trial(mutations.Mutation("nothing", "nothing"))
    assert (unchanged.moved, unchanged.found_by) == (0, ())
    changes = [
        *mutations.weight_mutations(subject.candidate.interface.model),
        *mutations.node_mutations(),
    ]
    trials = [trial for change in changes[::STEP] if (trial := subject.trial(change)) is not None]
    moving = [trial for trial in trials if trial.moved > 1]
    assert len(moving) >= 10
    assert [trial.mutation.name for trial in moving if not trial.found_by] == []
    weights = [trial for trial in trials if trial.mutation.kind in mutations.WEIGHT_EDITS]
    assert weights
    assert all("weights" in trial.found_by for trial in weights)
