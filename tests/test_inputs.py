"""Every form in which people hold a matrix with gaps gives the same observations; what is wrong is said."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from dmc.inputs import observe
from dmc.observations import Observations
from test_observations import COLS, ROWS, SHAPE, VALUES, dense_with_nan, same, where


@pytest.fixture
def expected() -> Observations:
    return Observations.from_entries(ROWS, COLS, VALUES, SHAPE)


SPARSE = ("csr", "csc", "coo", "bsr", "lil", "dok")


@pytest.mark.parametrize("container", [sparse.coo_array, sparse.coo_matrix])
@pytest.mark.parametrize("form", SPARSE)
def test_scipy_sparse_stored_zeros_included(form, container, expected):
    matrix = container((VALUES, (ROWS, COLS)), shape=SHAPE).asformat(form)
    same(observe(matrix), expected)


@pytest.mark.parametrize("container", [sparse.dia_array, sparse.dia_matrix])
def test_scipy_diagonals_stored_zeros_included(container):
    """All that stands inside the matrix is stored, zeros too; what hangs over its edge is not."""
    diagonals = [[1.0, 0.0, 3.0, 4.0, 5.0], [6.0, 7.0, 0.0, 9.0, 10.0]]
    observed = observe(container((diagonals, [0, -2]), shape=(4, 3)))
    same(observed, Observations.from_entries([0, 1, 2, 2, 3], [0, 1, 2, 0, 1], [1, 0, 3, 6, 7], (4, 3)))


def test_unsorted_csr(expected):
    columns = sparse.csr_array((VALUES, [0, 2, 4, 1, 4, 0], [0, 3, 3, 5, 6]), shape=SHAPE)
    columns.indices[:3], columns.data[:3] = columns.indices[2::-1].copy(), columns.data[2::-1].copy()
    columns.has_sorted_indices = False
    same(observe(columns), expected)


def test_nan_means_missing(expected):
    same(observe(dense_with_nan()), expected)
    same(observe(dense_with_nan().tolist()), expected)


@pytest.mark.parametrize("hidden", [np.nan, 99.0, np.inf])
def test_mask_means_observed(hidden, expected):
    X = np.where(where(), dense_with_nan(), hidden)
    same(observe(X, where()), expected)
    same(observe(X, where().astype(int)), expected)
    same(observe(X, where().tolist()), expected)


@pytest.mark.parametrize("hidden", [np.nan, 99.0])
def test_masked_array_means_the_opposite(hidden, expected):
    same(observe(np.ma.masked_array(np.where(where(), dense_with_nan(), hidden), mask=~where())), expected)


def test_masked_array_without_a_mask_is_all_observed():
    assert observe(np.ma.masked_array(np.ones((2, 3)))).n_observed == 6


def test_none_means_missing(expected):
    X = dense_with_nan().astype(object)
    X[np.isnan(dense_with_nan())] = None
    same(observe(X), expected)


@pytest.mark.parametrize("dtype", ["float64", "Float64", "object"])
def test_data_frame(dtype, expected):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(dense_with_nan()).astype(dtype)
    same(observe(frame), expected)
    full = pandas.DataFrame(np.where(where(), dense_with_nan(), 99))
    same(observe(full, pandas.DataFrame(where())), expected)


def test_data_frame_of_nullable_integers():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1, None], "b": [2, 3]}, dtype="Int64")
    same(observe(frame), Observations.from_entries([0, 0, 1], [0, 1, 1], [1, 2, 3]))


@pytest.mark.parametrize("missing", ["NA", "NaT"])
def test_missing_in_object_arrays(missing, expected):
    pandas = pytest.importorskip("pandas")
    X = dense_with_nan().astype(object)
    X[np.isnan(dense_with_nan())] = getattr(pandas, missing)
    same(observe(X), expected)
    same(observe(pandas.DataFrame(X)), expected)


def test_a_column_of_text_is_named():
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    for library in (pandas, polars):
        frame = library.DataFrame({"age": [3, 4], "name": ["Ann", "Bo"]})
        with pytest.raises(TypeError, match="column 'name' holds 'Ann', which is not a number; leave the column out"):
            observe(frame)


def test_all_columns_that_hold_no_numbers_are_named_at_once():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"id": ["a", "b"], "age": [3, 4], "day": pandas.to_datetime(["2025-01-01"] * 2)})
    frame["soil"] = ["clay", None]
    said = r"column 'id' holds 'a', which is not a number \(nor are all values of 'day', 'soil'\); leave these columns"
    with pytest.raises(TypeError, match=said):
        observe(frame)


@pytest.mark.parametrize("path", ["table.csv", Path("table.csv")])
def test_a_path_is_not_a_table(path):
    with pytest.raises(TypeError, match=r"X is the path 'table\.csv'; give the table itself"):
        observe(path)


def test_nan_stored_in_a_sparse_matrix_is_missing(expected):
    i, j = np.unravel_index([1, 3], SHAPE)
    rows, cols = np.append(ROWS, i[~where()[i, j]]), np.append(COLS, j[~where()[i, j]])
    values = np.append(VALUES, np.full(len(rows) - len(ROWS), np.nan))
    same(observe(sparse.coo_array((values, (rows, cols)), shape=SHAPE)), expected)


def test_a_number_may_stand_for_missing_entries(expected):
    X = np.where(where(), dense_with_nan(), -200)
    same(observe(X, missing_values=-200), expected)
    same(observe(sparse.csr_array(X), missing_values=-200), observe(sparse.csr_array(np.where(where(), X, 0))))
    same(observe(observe(X), missing_values=-200), expected)
    same(observe(X, np.ones(SHAPE, bool), missing_values=-200), expected)
    with pytest.raises(TypeError, match="missing_values is 'x'; give a number"):
        observe(X, missing_values="x")


def test_a_mask_with_labels_belongs_to_what_it_names(expected):
    pandas = pytest.importorskip("pandas")
    names = list("abcdefgh")[: SHAPE[0]], [f"c{j}" for j in range(SHAPE[1])]
    frame = pandas.DataFrame(np.where(where(), dense_with_nan(), 99), *names)
    mask = pandas.DataFrame(where(), *names)
    same(observe(frame, mask.iloc[::-1, ::-1]), expected)
    same(observe(frame, mask.to_numpy()), expected)
    with pytest.raises(ValueError, match="the index labels of mask and X differ, for instance 'z'"):
        observe(frame, mask.rename(index={"a": "z"}))
    with pytest.raises(ValueError, match="the columns labels of mask and X differ"):
        observe(frame, mask.set_axis(range(SHAPE[1]), axis=1))


def sparse_tensor(rows, cols, values, shape, layout="sparse_coo"):
    torch = pytest.importorskip("torch")
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # torch says that its sparse tensors are young
        X = torch.sparse_coo_tensor(torch.tensor([rows, cols]), torch.tensor(values, dtype=torch.float64), shape)
        return X if layout == "sparse_coo" else X.coalesce().to_sparse(layout=getattr(torch, layout))


@pytest.mark.parametrize("grad", [False, True])
def test_torch(grad, expected):
    torch = pytest.importorskip("torch")
    same(observe(torch.from_numpy(dense_with_nan()).requires_grad_(grad)), expected)


@pytest.mark.parametrize("layout", ["sparse_coo", "sparse_csr", "sparse_csc"])
@pytest.mark.parametrize("grad", [False, True])
def test_torch_sparse_stored_zeros_included(layout, grad, expected):
    same(observe(sparse_tensor(ROWS, COLS, VALUES, SHAPE, layout).requires_grad_(grad)), expected)


def test_torch_mask(expected):
    torch = pytest.importorskip("torch")
    same(observe(torch.from_numpy(np.nan_to_num(dense_with_nan())), torch.from_numpy(where())), expected)


def test_torch_tensor_of_half_the_width():
    torch = pytest.importorskip("torch")
    for dtype in (torch.float16, torch.bfloat16):
        observed = observe(torch.tensor([[1.0, float("nan")]], dtype=dtype))
        assert (observed.n_observed, observed.dtype) == (1, torch.float32)


def test_observations_pass_through(expected):
    assert observe(expected) is expected


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (np.float32, np.float32),
        (np.float16, np.float32),
        (np.float64, np.float64),
        (int, np.float64),
        (bool, np.float64),
    ],
)
def test_single_precision_stays(given, kept):
    X = np.eye(3).astype(given)
    assert observe(X).dtype == kept
    assert observe(sparse.coo_array(([1], ([0], [0]))).astype(np.float32)).dtype == np.float32
    assert Observations.from_entries([0], [0], X[0, :1]).dtype == kept


def test_the_input_is_neither_kept_nor_changed():
    X = dense_with_nan()
    observed = observe(X)
    X[:] = 7
    np.testing.assert_array_equal(observed.values, VALUES)
    matrix = sparse.coo_array((np.array(VALUES), (ROWS, COLS)), shape=SHAPE)
    observed = observe(matrix.tocsr())
    matrix.data[:] = 7
    np.testing.assert_array_equal(observed.values, VALUES)


@pytest.mark.parametrize(
    "X",
    [np.full((2, 3), np.nan), np.ma.masked_all((2, 3)), sparse.csr_array((2, 3)), sparse.dia_array((2, 3))],
    ids=type,
)
def test_nothing_observed_passes_where_asked_for(X):
    observed = observe(X, allow_empty=True)
    assert (observed.shape, observed.n_observed) == ((2, 3), 0)
    np.testing.assert_array_equal(observed.pattern.by_row.indptr, [0, 0, 0])


def test_sparse_duplicates_are_told_in_the_words_of_their_owner():
    matrix = sparse.coo_array(([1.0, 2.0], ([0, 0], [1, 1])), shape=(2, 2))
    with pytest.raises(ValueError, match=r"1 entry repeats .* at row 0, column 1; call X.sum_duplicates\(\)"):
        observe(matrix)


def test_torch_duplicates_are_not_added_up_in_silence():
    with pytest.raises(ValueError, match="1 entry repeats"):
        observe(sparse_tensor([0, 0], [1, 1], [1.0, 2.0], (2, 2)))


@pytest.mark.parametrize(
    ("X", "error", "said"),
    [
        (np.ones(3), ValueError, r"X has shape \(3,\); give a matrix"),
        (np.ones((2, 2, 2)), ValueError, r"X has shape \(2, 2, 2\); give a matrix"),
        (np.ones((0, 3)), ValueError, r"X has shape \(0, 3\); give at least one row and one column"),
        (np.full((2, 3), np.nan), ValueError, "none of the 6 entries of X is observed"),
        (np.array([[1, 2], [-np.inf, np.nan]]), ValueError, r"1 infinite value, the first \(-inf\) at row 1, column 0"),
        (np.eye(2) * 1j, TypeError, "X has dtype complex128"),
        (np.array([["a", "b"]]), TypeError, "X holds 'a', which is not a number"),
        (np.ma.masked_all((2, 2)), ValueError, "none of the 4 entries of X is observed"),
        (sparse.csr_array((2, 3)), ValueError, r"X \(2×3, sparse\) stores no entry"),
        (sparse.csr_array((0, 3)), ValueError, r"X has shape \(0, 3\)"),
        (sparse.coo_array(np.ones(3)), ValueError, r"X has shape \(3,\); give a matrix"),
        (sparse.csr_array([[1, np.inf]]), ValueError, "1 value that is not finite"),
        (sparse.csr_array([[1j]]), TypeError, "complex128"),
    ],
    ids=str,
)
def test_bad_matrices(X, error, said):
    with pytest.raises(error, match=said):
        observe(X)


def test_bad_tensor():
    torch = pytest.importorskip("torch")
    cube = sparse_tensor([0], [0], [1.0], (1, 1)).to_dense()[None].to_sparse()
    with pytest.raises(ValueError, match=r"X has shape .*1, 1, 1.*; give a matrix"):
        observe(cube)
    with pytest.raises(TypeError, match="X has dtype complex"):
        observe(torch.ones(2, 2, dtype=torch.complex64))


@pytest.mark.parametrize(
    ("mask", "error", "said"),
    [
        (np.ones((2, 3), bool), ValueError, r"mask has shape \(2, 3\) and X \(2, 2\)"),
        (np.array([[1, 2], [0, 1]]), TypeError, "mask has dtype int64; give booleans"),
        (np.array([["yes", "no"]] * 2), TypeError, "mask has dtype <U3; give booleans"),
        (np.zeros((2, 2), bool), ValueError, "none of the 4 entries of X is observed"),
        (
            np.ones((2, 2), bool),
            ValueError,
            "1 entry is NaN where the mask says observed, the first at row 0, column 1",
        ),
    ],
)
def test_bad_masks(mask, error, said):
    with pytest.raises(error, match=said):
        observe(np.array([[1, np.nan], [2, 3]]), mask)


@pytest.mark.parametrize(
    "X",
    [np.ma.masked_array(np.eye(2)), sparse.eye_array(2), observe(np.eye(2))],
    ids=["masked", "sparse", "observations"],
)
def test_a_second_mask_is_refused(X):
    with pytest.raises(ValueError, match=r"a mask was given with .*; leave"):
        observe(X, np.ones((2, 2), bool))


def test_nan_in_a_masked_array_is_told_in_its_own_terms():
    """There True means missing: the remedy for a plain mask would be the wrong way round."""
    X = np.ma.masked_array([[1.0, np.nan], [2.0, 3.0]], mask=[[False, False], [True, False]])
    with pytest.raises(ValueError, match=r"NaN .* row 0, column 1") as caught:
        observe(X)
    assert "set the mask to False" not in str(caught.value)
