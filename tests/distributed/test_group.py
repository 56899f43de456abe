"""What processes say to each other."""

import numpy as np
import pytest

import processes
from dmc._group import ALONE, spread_qr
from dmc.distributed.group import LostProcess, connected
from processes import free_port, run_processes


def _sums(group):
    rng = np.random.default_rng(group.rank)
    small, large = rng.standard_normal(7), rng.standard_normal((300, 50)).astype(np.float32)
    return {
        "small": (small, group.sum(small)),
        "large": (large, group.sum(large)),
        "whole": (np.array([group.rank, 2**60]), group.sum(np.array([group.rank, 2**60]))),
        "number": (float(group.rank), group.sum(float(group.rank))),
        "kind": type(group.sum(np.float32(1))).__name__,
        "none": group.sum(np.zeros((0, 3))).shape,
        "read only": group.sum(np.broadcast_to(np.float64(1), (4,))).tolist(),
    }


@pytest.mark.parametrize("size", [2, 3])
def test_sums_are_those_in_float64_in_the_order_of_the_processes(size):
    found = run_processes(size, _sums)
    for name in ("small", "large", "whole", "number"):
        given = [np.asarray(of_one[name][0]) for of_one in found]
        exact = np.float64 if given[0].dtype.kind == "f" else np.int64
        total = np.zeros(given[0].shape, exact)
        for one in given:
            total = total + one.astype(exact)
        for of_one in found:
            np.testing.assert_array_equal(of_one[name][1], total.astype(given[0].dtype))
            assert np.asarray(of_one[name][1]).dtype == given[0].dtype
    assert {of_one["kind"] for of_one in found} == {"float32"}
    assert {of_one["none"] for of_one in found} == {(0, 3)}
    assert found[0]["read only"] == [size] * 4


def _words(group):
    own = np.arange(group.rank + 2)
    sent = group.exchange([np.full(to + 1, 10 * group.rank + to) for to in range(group.size)])
    return {
        "gathered": [one.tolist() for one in group.gather(own)],
        "sent": [one.tolist() for one in sent],
        "first": (group.first(np.array([group.rank, 1.5])).tolist(), group.first(group.rank + 3)),
        "any": (group.any(group.rank == 1), group.any(False)),
        "max": group.max(np.array([group.rank, -group.rank, 4.0])).tolist(),
        "flags": [one.tolist() for one in group.gather(np.array([group.rank == 0]))],
        "empty": [one.tolist() for one in group.gather(np.zeros(0 if group.rank else 2, np.float32))],
    }


def test_pieces_reach_whom_they_are_for():
    found = run_processes(3, _words)
    for rank, one in enumerate(found):
        assert one["gathered"] == [[0, 1], [0, 1, 2], [0, 1, 2, 3]]
        assert one["sent"] == [[10 * sender + rank] * (rank + 1) for sender in range(3)]
        assert one["first"] == ([0, 1.5], 3)
        assert one["any"] == (True, False)
        assert one["max"] == [2.0, 0.0, 4.0]
        assert one["flags"] == [[True], [False], [False]]
        assert one["empty"] == [[0, 0], [], []]


def _tensors(group):
    import torch

    given = torch.arange(10000, dtype=torch.float32).reshape(100, 100) * (group.rank + 1)
    found = group.sum(given)
    return bool((found == 3 * torch.arange(10000.0).reshape(100, 100)).all()), found.dtype == torch.float32


def test_tensors_are_summed_as_tensors():
    assert run_processes(2, _tensors) == [(True, True)] * 2


def _qr(group, rows):
    A = np.random.default_rng(3).standard_normal((sum(rows), 4))
    own = slice(sum(rows[: group.rank]), sum(rows[: group.rank + 1]))
    Q, R = spread_qr(A[own], group)
    return Q, R, A[own]


@pytest.mark.parametrize("rows", [(20, 9, 30), (40, 0, 2)], ids=str)
def test_a_qr_of_spread_rows(rows):
    found = run_processes(3, _qr, rows)
    Q, A = (np.concatenate([of_one[i] for of_one in found]) for i in (0, 2))
    np.testing.assert_allclose(Q.T @ Q, np.eye(4), atol=1e-13)
    for of_one in found:
        np.testing.assert_allclose(Q @ of_one[1], A, atol=1e-12)
        np.testing.assert_array_equal(of_one[1], found[0][1])


def _bytes(group):
    before = group.sent
    group.sum(np.zeros(30000))
    return group.sent - before


def test_a_sum_sends_the_least_that_it_can():
    assert run_processes(3, _bytes) == [2 * 2 * 30000 * 8 // 3] * 3


def test_one_process_needs_no_others():
    with connected(0, 1) as group:
        assert group is ALONE


def test_who_meets_nobody_says_so():
    port = free_port()
    said = f"process 1 of 2 found no other process at 127.0.0.1:{port} within 1 s"
    with pytest.raises(LostProcess, match=said), connected(1, 2, "127.0.0.1", port, timeout=1):
        pass


def test_who_met_nobody_may_meet_others_later(monkeypatch):
    """A process that is used again, as those of Spark are, and here one of `run_processes`."""
    assert run_processes(2, _words)[0]["any"] == (True, False)
    monkeypatch.setattr(processes, "TIMEOUT", 2)
    with pytest.raises(LostProcess):
        processes.alone(0, _words)
    monkeypatch.undo()
    assert run_processes(2, _words)[0]["any"] == (True, False)
