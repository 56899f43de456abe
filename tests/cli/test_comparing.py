"""dmc compare: what dmc.compare finds of a file's table, in words, as JSON and as a figure."""

import warnings

import numpy as np
import pytest

import dmc
from command_line import last_json

FAST = ("--max-steps", "40", "--contender", "compressed", "--contender", "MatrixCompletion")


@pytest.fixture
def gapped(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 2)) @ rng.standard_normal((2, 6))
    X[rng.random(X.shape) < 0.1] = np.nan
    path = tmp_path / "gapped.csv"
    rows = [",".join([f"s{i}", *("" if np.isnan(v) else repr(v) for v in row.tolist())]) for i, row in enumerate(X)]
    path.write_text("\n".join(["station,a,b,c,d,e,f", *rows]) + "\n")
    return path, X


@pytest.mark.filterwarnings("default")
def test_compare(dmc_in, gapped, tmp_path):
    path, X = gapped
    code, out, err = dmc_in(
        "compare", path, *FAST, "--seed", 3, "--rank", 3, "--figure", tmp_path / "found.png", "--json"
    )
    assert code == 0
    assert err.startswith("dmc: 1 of 2 contenders did not converge: compressed (not converged")
    assert "raise --max-steps or --time-limit\n" in err
    found = last_json(out)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = dmc.compare(X, rank=3, random_state=3, max_steps=40, contenders=["compressed", "MatrixCompletion"])
    assert [row["held_out_error"] for row in found["contenders"]] == [row["held_out_error"] for row in expected.table]
    assert (found["rows"], found["columns"], found["n_test"], found["mean"]) == (
        30,
        6,
        expected.n_test,
        expected.baseline,
    )
    assert "seed 3" in found["held_out"]
    assert (tmp_path / "found.png").stat().st_size > 10_000


@pytest.mark.filterwarnings("default")
def test_compare_to_the_screen(dmc_in, gapped, tmp_path):
    path, _ = gapped
    code, out, _ = dmc_in("compare", path, *FAST, "--standardize", "--figure", tmp_path / "found.svg")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines() if line[:4] in ("comp", "Matr", "mean")] == [
        "compressed",
        "MatrixCompletion",
        "mean",
    ]
    assert "in standard deviations of the column" in out
    assert out.endswith(f"figure  {tmp_path / 'found.svg'}\n")


@pytest.mark.filterwarnings("default")
def test_what_is_refused_is_told_in_the_words_of_the_shell(dmc_in, gapped, tmp_path):
    path, _ = gapped
    code, out, err = dmc_in("compare", path, "--contender", "full width", "--time-limit", "1e-9")
    assert code == 0
    assert "raise --time-limit or name the others with --contender" in err
    assert "raise --time-limit or name the others with --contender" in out


@pytest.mark.filterwarnings("default")
def test_columns_of_unlike_spread_are_told(dmc_in, tmp_path):
    rng = np.random.default_rng(0)
    np.savetxt(
        tmp_path / "t.csv", rng.standard_normal((20, 3)) * [1, 1, 500], delimiter=",", header="a,b,c", comments=""
    )
    _, _, err = dmc_in("compare", tmp_path / "t.csv", *FAST)
    assert "it dominates the errors; pass --standardize if columns have different units" in err


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ("compare nope.csv", 1, "there is no file nope.csv; check the path"),
        ("compare words.csv --label item", 1, "words.csv has no column of numbers"),
        ("compare cut.csv", 1, "line 3 of cut.csv has 2 fields instead of 3; fix that line"),
        ("compare words.csv --figure nowhere/f.png", 1, "there is no folder nowhere"),
        ("compare words.csv --figure f.gif", 2, "f.gif ends in .gif; figures are written as .png, .pdf or .svg"),
        ("compare words.csv --contender deep", 2, "--contender is 'deep'; choose one of 'compressed', "),
        ("compare words.csv --test-fraction 2", 2, "--test-fraction is 2; it has to be between 0 and 1"),
        ("compare words.csv --time-limit 0", 2, "--time-limit is 0; give seconds above 0"),
        ("compare words.csv --depth 1", 2, "invalid value for '--depth'"),
        ("compare words.csv --rank 0", 2, "invalid value for '--rank'"),
    ],
)
def test_bad_input_is_one_sentence(dmc_in, arguments, status, message):
    code, out, err = dmc_in(*arguments.split())
    assert (code, out) == (status, "")
    assert message in err
    assert err.count("\n") == 1
    assert err.startswith("dmc: ")
