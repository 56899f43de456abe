"""dmc complete: the gaps of a table are filled as the library fills them, and nothing else changes."""

import csv
import io

import numpy as np
import pytest

from command_line import last_json
from dmc import MatrixCompletion
from dmc.recommend.tables.table import Table


@pytest.fixture(scope="module")
def planted():
    """(rows, columns) a table of rank 2 with noise, and where it is missing."""
    rng = np.random.default_rng(0)
    truth = 20 + rng.standard_normal((40, 2)) @ rng.standard_normal((2, 6))
    values = np.round(truth + 0.02 * rng.standard_normal(truth.shape), 3)
    return values, rng.random(truth.shape) < 0.15


@pytest.fixture
def gapped(planted, tmp_path):
    values, missing = planted
    path = tmp_path / "gapped.csv"
    rows = [
        [f"Oslo, {i}", *("" if gap else f"{value:.3f}0" for value, gap in zip(*row, strict=True))]
        for i, row in enumerate(zip(values, missing, strict=True))
    ]
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([["station", *"abcdef"], *rows])
    return path


def test_complete(dmc_in, gapped, planted, tmp_path):
    values, missing = planted
    model = MatrixCompletion().fit(np.where(missing, np.nan, values))
    code, out, err = dmc_in("complete", gapped, "-o", tmp_path / "full.csv", "--json")
    assert (code, err) == (0, "")
    found = last_json(out)
    assert (found["rows"], found["columns_of_numbers"], found["filled"]) == (40, 6, missing.sum())
    assert (found["rank"], found["held_out_rmse"]) == (model.rank_, model.held_out_rmse_)
    assert found["column_errors"] == dict(zip("abcdef", model.column_errors_, strict=True))
    before, after = (list(csv.reader(io.StringIO(p.read_text()))) for p in (gapped, tmp_path / "full.csv"))
    assert before[0] == after[0]
    pairs = [pair for rows in zip(before, after, strict=True) for pair in zip(*rows, strict=True)]
    assert all(new == old for old, new in pairs if old)  # text for text
    filled = np.array([[float(cell) for cell in row[1:]] for row in after[1:]])
    np.testing.assert_allclose(filled[missing], model.predict(*np.nonzero(missing)), atol=0.01)
    shown = dmc_in("complete", gapped, "-o", tmp_path / "full.csv")[1]
    assert [f"error of {name}" in shown for name in "abcdef"] == [True] * 6


def test_outliers_are_listed_by_their_line(dmc_in, tmp_path):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((100, 1)) * np.arange(1, 6) + 0.1 * rng.standard_normal((100, 5))
    x[41, 2], x[7, 0] = 5000, np.nan
    lines = [",".join("" if np.isnan(v) else f"{v:.3f}" for v in row) for row in x]
    (tmp_path / "x.csv").write_text("\n".join(["a,b,c,d,e", *lines]))
    code, out, err = dmc_in("complete", tmp_path / "x.csv", "--robust", "-o", tmp_path / "full.csv")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1].split() == ["outlier", "in", "line", "43", "c", "=", "5000"]
    found = last_json(dmc_in("complete", tmp_path / "x.csv", "--robust", "--json")[1])
    assert found["outlier_cells"] == [{"line": 43, "column": "c", "value": 5000.0}]


def test_complete_to_the_screen(dmc_in, gapped, planted):
    code, out, err = dmc_in("complete", gapped)
    assert (code, err) == (0, "")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["station"] for row in rows] == [f"Oslo, {i}" for i in range(40)]
    found = last_json(dmc_in("complete", gapped, "--json")[1])
    assert [row["a"] for row in found["completed"]] == [row["a"] for row in rows]


def test_complete_with_deviations_and_bounds_in_parquet(dmc_in, gapped, planted, tmp_path):
    values, missing = planted
    low = float(values[~missing].min()) - 1
    options = ["--min", str(low), "--max", "99", "--min", f"b={low - 1}", "--std", tmp_path / "std.parquet"]
    code, _, err = dmc_in("complete", gapped, "-o", tmp_path / "full.parquet", *options)
    assert (code, err) == (0, "")
    bounds = np.full(6, low) - [0, 1, 0, 0, 0, 0]
    model = MatrixCompletion(min_value=bounds, max_value=[99.0] * 6).fit(np.where(missing, np.nan, values))
    expected, deviations = model.predict(*np.nonzero(missing), return_std=True)
    full, std = (Table.open(tmp_path / f"{name}.parquet") for name in ("full", "std"))
    found, spread = (np.column_stack([table.column(name) for name in "abcdef"]) for table in (full, std))
    np.testing.assert_array_equal(found[missing], expected)
    np.testing.assert_array_equal(found[~missing], values[~missing])
    np.testing.assert_array_equal(spread[missing], deviations)
    assert np.isnan(spread[~missing]).all()


def test_settings_are_handed_on(dmc_in, gapped, planted, tmp_path):
    values, missing = planted
    options = ["--rank", "1", "--robust", "--missing-values", "-200"]
    text = gapped.read_text().replace(",,", ",-200,")
    gapped.write_text(text)
    code, out, _ = dmc_in("complete", gapped, *options, "-o", tmp_path / "full.csv", "--json")
    assert code == 0
    model = MatrixCompletion(1, loss="robust").fit(np.where(missing, np.nan, values))
    found = last_json(out)
    assert (found["rank"], found["outliers"]) == (1, len(model.outliers_))
    assert found["filled"] == missing.sum()
    assert "-200" not in (tmp_path / "full.csv").read_text()


def test_a_table_without_gaps_stays_as_it_is(dmc_in, tmp_path):
    (tmp_path / "full.csv").write_text("x,y\n1.0,2\n3,4.50\n")
    code, out, err = dmc_in("complete", tmp_path / "full.csv")
    assert (code, out) == (0, "x,y\n1.0,2\n3,4.50\n")
    assert err == "dmc: no cell is missing; the table is written unchanged\n"


@pytest.mark.filterwarnings("default")
def test_warnings_name_columns_and_options(dmc_in, gapped, tmp_path):
    lines = gapped.read_text().splitlines()
    gapped.write_text("\n".join([f"{lines[0]},gone", *(f"{line}," for line in lines[1:])]) + "\n")
    code, out, err = dmc_in("complete", gapped, "--leave-unknown", "--missing-values", "-1")
    assert code == 0
    assert "column 'gone'" in err
    assert "--missing-values is -1, which does not occur in the table; check the number" in err
    assert all(line.endswith(",") for line in out.splitlines()[1:])  # nothing is made up


def test_bad_bounds(dmc_in, gapped):
    code, _, err = dmc_in("complete", gapped, "--max", "19")
    assert code == 1
    assert all(part in err for part in ("lie outside --min and --max", "column 'a'", "at line 2"))
    code, _, err = dmc_in("complete", gapped, "--max", "z=19")
    assert (code, err) == (
        1,
        "dmc: --max names the column 'z'; the columns of numbers are 'a', 'b', 'c', 'd', 'e', 'f'\n",
    )


def test_a_first_line_of_numbers_is_told(dmc_in, tmp_path):
    (tmp_path / "bare.csv").write_text("1,2\n3,\n4,5\n5,6\n")
    code, _, err = dmc_in("complete", tmp_path / "bare.csv")
    assert code == 0
    assert err == "dmc: the first line, 1, 2, is taken for the names of the columns\n"


def test_row_numbers_are_kept(dmc_in, tmp_path):
    rng = np.random.default_rng(0)
    values = np.outer(rng.random(12) + 1, rng.random(4) + 1)
    lines = [",".join([str(i), *(f"{v:.6f}" for v in row)]) for i, row in enumerate(values)]
    lines[3] = lines[3].rsplit(",", 1)[0] + ","
    (tmp_path / "t.csv").write_text("\n".join(["id,a,b,c,d", *lines]) + "\n")
    code, out, err = dmc_in("complete", tmp_path / "t.csv")
    assert (code, err) == (0, "dmc: column 'id' numbers the rows, and is kept as a label\n")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["id"] for row in rows] == [str(i) for i in range(12)]
    assert float(rows[3]["d"]) == pytest.approx(values[3, 3], rel=1e-4)


def test_a_table_with_a_checkpoint_goes_on_from_it(dmc_in, gapped, tmp_path):
    kept, full = tmp_path / "fit.checkpoint", tmp_path / "full.csv"
    code, _, err = dmc_in("complete", gapped, "--checkpoint", kept, "-o", full, "--json")
    assert (code, err) == (0, "")
    before = full.read_bytes()
    code, _, err = dmc_in("complete", gapped, "--checkpoint", kept, "-o", full, "--json")
    assert (code, err) == (0, f"dmc: the fit resumes from {kept}\n")
    assert full.read_bytes() == before
