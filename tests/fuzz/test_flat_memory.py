"""What fuzz/flat_memory.py measures for every public method: that it sees a leak, and a few methods."""

import numpy as np

import dmc
from fuzz import flat_memory


def test_a_leak_and_a_cycle_are_seen():
    kept = []
    grown, calls = flat_memory.growth(lambda: kept.append(np.ones(200_000)), 100, 10)
    assert grown > 100 * 500_000  # some of it lies where something else was before
    assert calls == 100

    def cycle():
        own = [np.ones(50_000)]
        own.append(own)

    assert flat_memory.only_collected(cycle) >= 390_000


def test_every_public_method_has_a_call():
    for name in ("Observations", "Factors", "MaskedLeastSquares"):  # the others fit, which `make fuzz` has time for
        made, methods = flat_memory.CLASSES[name]()
        assert flat_memory.missing(made, methods) == []


def test_memory_is_flat_over_calls_of_the_core():
    """Of a size whose arrays come out of pools."""
    X = np.random.default_rng(0).standard_normal((900, 700))
    problem, factors = dmc.MaskedLeastSquares(dmc.observe(X)), dmc.Factors(np.ones((900, 8)), (), np.ones((700, 8)))
    grown, calls = flat_memory.growth(lambda: problem.value_and_grad(factors), 300, 30)
    assert grown < 4 << 20, (grown, calls)
