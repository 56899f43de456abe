"""One loop wherever the arrays live: what torch computes equals what NumPy and the core compute."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

import dmc  # noqa: E402
from dmc import Factors, LinearSensing, MaskedLeastSquares, Observations, _arrays, datasets  # noqa: E402
from dmc.solver import initial, steps  # noqa: E402
from dmc.solver.callbacks import EarlyStopping, History  # noqa: E402
from dmc.solver.dense_problems import LeastSquares  # noqa: E402

ON_THE_FLY = {
    "normalised": steps.DiscrepantDescent(),
    "fixed": steps.DiscrepantDescent(rate=1e-2, outer_ratio=0.1, weight_decay=1e-3),
    "momentum": steps.Momentum(steps.DiscrepantDescent(rate=1e-3)),
    "adam": steps.Adam(),
}
EVERY_STEP = {  # which decide by the value, or solve a system, at every step
    "backtracking": steps.Backtracking(steps.DiscrepantDescent()),
    "gauss-newton": steps.Backtracking(steps.GaussNewton()),
    "alternating": steps.AlternatingLeastSquares(),
    "scaled": steps.ScaledDescent(),
}


@pytest.fixture(scope="module")
def observed():
    return datasets.planted((60, 45), 3, 0.4, noise=0.01).observations


def start_for(step, observed):
    return initial.spectral(observed, 3) if step in EVERY_STEP else initial.compressed(observed, 6, 3)


@pytest.mark.parametrize("penalised", [False, True])
@pytest.mark.parametrize("step", [*ON_THE_FLY, *EVERY_STEP])
def test_two_hundred_steps_on_a_device_are_those_on_the_host(step, penalised, observed, device):
    rule, start = (ON_THE_FLY | EVERY_STEP)[step], start_for(step, observed)
    weights = np.random.default_rng(0).uniform(0.5, 2, observed.n_observed) if penalised else None
    problem = MaskedLeastSquares(observed, weights, l2=0.1 if penalised else 0.0)
    # Adam divides by the size of gradients that are all rounding once it has arrived, and is stopped before.
    n = 50 if step == "adam" else 200
    host, there = (dmc.solve(problem, start, rule, max_steps=n, tol=0, device=d) for d in (None, device))
    assert isinstance(there.factors.U, np.ndarray)  # where the start was
    assert there.n_steps == host.n_steps
    # The core solves loosely in single precision, torch in double: Gauss–Newton steps differ by 1e-6 of themselves.
    # With a penalty they get shorter by a hundredth only from one to the next, and 200 of them are not the end.
    atol = 1e-7 if step == "gauss-newton" else 1e-9
    np.testing.assert_allclose(there.factors.dense(), host.factors.dense(), rtol=0, atol=atol)
    assert there.value == pytest.approx(host.value, rel=1e-9)


def test_single_precision_ends_at_the_same_error(device):
    train, test = datasets.planted((200, 150), 3, 0.4, noise=0.1).observations.split(0.2)
    train, test = (o.with_values(o.values.astype(np.float32)) for o in (train, test))
    problem, start = MaskedLeastSquares(train, l2=0.3), initial.gaussian(train.shape, 6, 2, 0.3, dtype=np.float32)
    errors = [
        EarlyStopping(test).error(dmc.solve(problem, start, steps.Adam(), max_steps=300, tol=0, device=d).factors)
        for d in (None, device)
    ]
    assert errors[1] == pytest.approx(errors[0], abs=1e-3)


class CountsReads(TorchDispatchMode):
    """How often a number is asked of a device, for which the host has to wait."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket._qualified_op_name
        self.count += name in ("aten::_local_scalar_dense", "aten::is_nonzero", "aten::equal", "aten::nonzero")
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("step", ON_THE_FLY)
def test_the_host_waits_only_where_it_looks(step, observed):
    """Twenty more steps between two looks ask for not one number more."""

    def reads(n_steps, check_every):
        problem = MaskedLeastSquares(observed.to("cpu"), l2=0.1)
        start = start_for(step, observed).to("cpu")
        dmc.solve(problem, start, ON_THE_FLY[step], max_steps=1)  # what is computed once
        with CountsReads() as mode:
            dmc.solve(problem, start, ON_THE_FLY[step], max_steps=n_steps, tol=0, check_every=check_every)
        return mode.count

    assert reads(30, 30) == reads(10, 10) > 0
    assert reads(30, 10) > reads(30, 30)


@pytest.mark.parametrize(
    "make", [lambda X: LeastSquares(X), lambda X: LinearSensing(np.eye(30).reshape(30, 6, 5), X.ravel())]
)
def test_other_problems_on_a_device(make):
    X = np.random.default_rng(1).standard_normal((6, 5))
    problem, start = make(X), initial.compressed(X, 2, 2)
    host, device = (dmc.solve(problem, start, steps.DiscrepantDescent(), max_steps=50, device=d) for d in (None, "cpu"))
    np.testing.assert_allclose(device.factors.dense(), host.factors.dense(), rtol=0, atol=1e-12)
    assert problem.device is None
    assert problem.to("cpu").to(None).value(start) == pytest.approx(problem.value(start))


def test_tensors_in_tensors_out(observed, device):
    start = initial.compressed(observed.to(device), 6, 3)
    assert start.device.startswith(device)
    np.testing.assert_allclose(start.to(None).dense(), initial.compressed(observed, 6, 3).dense(), atol=1e-12)
    watch = EarlyStopping(observed)  # whose entries are still on the host
    callbacks = [watch, History(rank=lambda f: f.rank(1e-2))]
    found = dmc.solve(
        MaskedLeastSquares(observed.to(device)), start, steps.DiscrepantDescent(), max_steps=20, callbacks=callbacks
    )
    assert found.factors.device == start.device
    on_host = dmc.solve(MaskedLeastSquares(observed), start.to(None), steps.DiscrepantDescent(), max_steps=20)
    np.testing.assert_allclose(found.factors.to(None).dense(), on_host.factors.dense(), atol=1e-10)
    assert watch.best_error == pytest.approx(np.sqrt(2 * found.value / observed.n_observed))


def test_parameters_are_taken_without_their_derivatives(observed):
    leaves = initial.compressed(observed, 3, 2).map(lambda a: torch.tensor(a, requires_grad=True))
    found = dmc.solve(MaskedLeastSquares(observed), leaves, steps.DiscrepantDescent(), max_steps=2, device="cpu")
    assert not any(a.requires_grad for a in found.factors.arrays)


@pytest.mark.parametrize("device", ["tpu", "cuda:x", 3])
def test_devices_that_there_are_not(device, observed):
    with pytest.raises(ValueError, match="choose 'cpu' or 'cuda'"):
        observed.to(device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device that the test wants to miss")
def test_a_gpu_that_is_not_there(observed):
    problem, start = MaskedLeastSquares(observed), initial.compressed(observed, 3)
    for use in (
        lambda: dmc.solve(problem, start, steps.Adam(), device="cuda"),
        lambda: dmc.MatrixCompletion(device="cuda").fit(observed),
        lambda: dmc.Recommender(model="network", device="cuda").fit(
            {"user": [1, 2], "item": [1, 2], "rating": [1.0, 2.0]}
        ),
        lambda: initial.compressed(observed, 3).to("cuda"),
    ):
        with pytest.raises(ValueError, match=r"device is 'cuda' and torch says: .+; see `dmc doctor`"):
            use()


def test_factors_and_data_apart(observed):
    with pytest.raises(
        ValueError, match=r"factors are on the host \(NumPy\) and the data on cpu; .*factors.to\('cpu'\)"
    ):
        MaskedLeastSquares(observed, device="cpu").value_and_grad(initial.compressed(observed, 3))


def test_kernels_for_tensors(observed):
    start = initial.compressed(observed, 3).to("cpu")
    values = {
        kernel: MaskedLeastSquares(observed, kernel=kernel, device="cpu").value_and_grad(start)
        for kernel in (None, "operators", "reference", "dense")
    }
    loss, grad = MaskedLeastSquares(observed).value_and_grad(start.to(None))
    for value, gradient in values.values():
        assert float(value) == pytest.approx(loss)
        for a, b in zip(gradient.arrays, grad.arrays, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="the kernel for tensors on cpu is 'native'"):
        MaskedLeastSquares(observed, kernel="native", device="cpu")


def test_no_room_on_a_device_is_one_sentence():
    said = "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 1 GiB.\nmore"
    with pytest.raises(MemoryError, match=r"^cuda:0 has no room for 20.00 GiB; free") as caught:  # noqa: SIM117
        with _arrays.words_for_full_memory("cuda:0"):
            raise torch.OutOfMemoryError(said)
    assert "\n" not in str(caught.value)


# Observations of tensors -----------------------------------------------------------------------------------------


def entries(n=300, shape=(20, 15), seed=0):
    rng = np.random.default_rng(seed)
    places = rng.choice(shape[0] * shape[1], min(n, shape[0] * shape[1] - 40), replace=False)
    return places // shape[1], places % shape[1], rng.standard_normal(len(places))


def assert_same(found, wanted):
    assert found.device is not None
    found = found.to(None)
    assert found.shape == wanted.shape
    both = ((*o.pattern.by_row, *o.pattern.by_column, o.values) for o in (found, wanted))
    for a, b in zip(*both, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.int64])
@pytest.mark.parametrize("index", [torch.int32, torch.int64, torch.int16])
def test_sorted_on_the_device_as_on_the_host(dtype, index, device):
    rows, cols, values = entries()
    values = torch.tensor(np.round(8 * values)).to(dtype)
    given = torch.tensor(rows).to(index), torch.tensor(cols).to(index), values
    wanted = Observations.from_entries(*(t.numpy() for t in given), (22, 17))  # with empty lines
    found = Observations.from_entries(*(t.to(device) for t in given), (22, 17))
    assert_same(found, wanted)
    assert_same(wanted.to(device), wanted)
    np.testing.assert_array_equal(found.pattern.column_order.cpu(), wanted.pattern.column_order)
    np.testing.assert_array_equal(found.rows.cpu(), wanted.rows)
    assert_same(found.take(found.values > 0), wanted.take(wanted.values > 0))
    for a, b in zip(found.split(0.2, 3), wanted.split(0.2, 3), strict=True):
        assert_same(a, b)
    assert found.spectral_norm() == pytest.approx(wanted.spectral_norm(), rel=1e-5)
    np.testing.assert_array_equal(found.to_scipy().toarray(), wanted.to_scipy().toarray())
    x = np.random.default_rng(0).standard_normal((2, 22))
    np.testing.assert_allclose(found.linear_operator() @ x[0, :17], wanted.linear_operator() @ x[0, :17], rtol=1e-5)
    np.testing.assert_allclose(found.linear_operator().T @ x[1], wanted.linear_operator().T @ x[1], rtol=1e-5)


@pytest.mark.parametrize("duplicates", ["mean", "last"])
def test_repeats_on_a_device(duplicates):
    rows, cols, values = [1, 0, 1, 1, 0], [2, 0, 2, 0, 0], [1.0, 2.0, 3.0, 4.0, 6.0]
    wanted = Observations.from_entries(rows, cols, values, duplicates=duplicates)
    found = Observations.from_entries(torch.tensor(rows), cols, torch.tensor(values).double(), duplicates=duplicates)
    assert_same(found, wanted)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"rows": [0, -1, 1]}, ValueError),
        ({"cols": [0, 1, 2]}, ValueError),
        ({"rows": [0.5, 1.0, 1.0]}, ValueError),
        ({"values": [1.0, float("nan"), 2.0]}, ValueError),
        ({"values": [1.0, 2.0]}, ValueError),
        ({"rows": [0, 0, 1], "cols": [1, 1, 1]}, ValueError),
        ({"values": [1j, 2.0, 3.0]}, TypeError),
        ({"rows": [], "cols": [], "values": []}, ValueError),
    ],
)
def test_refusals_are_those_of_the_host(change, kind):
    given = {"rows": [0, 1, 1], "cols": [0, 0, 1], "values": [1.0, 2.0, 3.0]} | change
    with pytest.raises(kind) as host:
        Observations.from_entries(*(np.asarray(a) for a in given.values()), (2, 2))
    with pytest.raises(kind) as device:
        Observations.from_entries(*(torch.tensor(a) for a in given.values()), (2, 2))
    assert str(device.value) == str(host.value).replace("complex128", "complex64")


# Estimators ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_completion_on_a_device(noise, device):
    pytest.importorskip("sklearn")
    problem = datasets.planted((80, 60), 2, 0.5, noise=noise)
    host = dmc.MatrixCompletion().fit(problem.observations)
    there = dmc.MatrixCompletion(device=device).fit(problem.observations)
    tensors = dmc.MatrixCompletion().fit(problem.observations.to(device))
    assert host.rank_ == there.rank_ == tensors.rank_ == 2
    assert there.factors_.device is None
    assert tensors.factors_.device.startswith(device)
    for other in (there.complete(), tensors.complete().cpu()):
        np.testing.assert_allclose(other, host.complete(), rtol=0, atol=1e-6)
    np.testing.assert_allclose(tensors.predict([0, 1], [1, 0]).cpu(), host.predict([0, 1], [1, 0]), atol=1e-6)
    rows = torch.full((1, 60), torch.nan).double()
    rows[0, :30] = torch.tensor(host.complete()[4, :30])
    imputed = tensors.transform(rows)
    assert isinstance(imputed, torch.Tensor)
    np.testing.assert_allclose(imputed, host.transform(rows.numpy()), atol=1e-6)


def test_a_line_without_entries_and_unknown_entries_on_a_device():
    X = np.full((6, 5), np.nan)
    X[:4, :4] = np.outer(np.arange(1, 5), np.arange(1, 5))
    with pytest.warns(UserWarning, match="no observed entry"):
        model = dmc.MatrixCompletion().fit(torch.tensor(X))
    assert torch.isnan(model.complete(unknown=torch.nan)[5, 4])
    np.testing.assert_allclose(model.complete()[:4, :4], X[:4, :4], atol=1e-8)


def test_recommender_on_a_device(device):
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    users, items = rng.integers(0, 40, 900), rng.integers(0, 30, 900)
    table = {"user": users, "item": items, "rating": 3 + np.sin(users) * np.cos(items) + 0.1 * rng.standard_normal(900)}
    host, there = (
        dmc.Recommender(model="network", depth=3, device=d).fit(table, duplicates="last") for d in (None, device)
    )
    assert isinstance(there.factors_.U, np.ndarray)
    assert there.n_iter_ == host.n_iter_
    a, b = (model.predict(table)["prediction"] for model in (host, there))
    np.testing.assert_allclose(a, b, atol=1e-3)


def test_factors_move():
    f = Factors(np.ones((3, 2)), [np.eye(2)], np.ones((4, 2))[:, ::-1], np.zeros(3), np.zeros(4))
    there = f.to("cpu")
    assert (there.device, there.to(None).device, f.to(None) is f) == ("cpu", None, True)
    np.testing.assert_array_equal(there.to(None).dense(), f.dense())
    np.testing.assert_array_equal(there.at(torch.tensor([0]), [1]), f.at([0], [1]))
