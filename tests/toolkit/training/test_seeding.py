"""Random numbers depend on purpose, seed and epoch alone, and torch's own generator is left as it was."""

import torch

from cnntk.training.seeding import Purpose, generator, seeded


def test_every_argument_counts() -> None:
    arguments = [(p, seed, epoch) for p in Purpose for seed in (0, 1, 2**70) for epoch in (0, 1)]
    drawn = {float(torch.rand((), dtype=torch.float64, generator=generator(*a))) for a in arguments}
    assert len(drawn) == len(arguments)
    assert torch.equal(
        torch.rand(3, generator=generator(Purpose.SHUFFLE, 5, 6)),
        torch.rand(3, generator=generator(Purpose.SHUFFLE, 5, 6)),
    )


def test_the_global_generator_comes_back() -> None:
    before = torch.get_rng_state()
    with seeded(Purpose.DROPOUT, 0, 1):
        first = torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(7)
    with seeded(Purpose.DROPOUT, 0, 1):
        assert torch.equal(torch.rand(3), first)
