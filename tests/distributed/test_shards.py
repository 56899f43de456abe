"""Models that several processes write, and who reads them."""

import json
import os

import numpy as np
import pytest

import dmc
from dmc import _whole_file
from dmc._group import ALONE
from dmc.distributed import file_of, load, shards
from dmc.recommend import shards as listing


def model(seed=0):
    rng = np.random.default_rng(seed)
    positions = rng.permutation(50 * 20)[:400]
    rating = rng.integers(1, 6, 400).astype(np.float32)
    return dmc.Recommender().fit({"user": positions // 20, "item": positions % 20, "rating": rating})


def test_a_model_is_replaced_once_the_new_one_is_there(tmp_path):
    first, second = model(0), model(1)
    shards.write(first, tmp_path / "model", ALONE)
    (tmp_path / "model" / "users-cafe-00007.dmc").write_text("of a writer that did not come to an end")
    for name in (f".dmc-{'0' * 16}-{_whole_file._machine()}-{'0' * 16}.part", f"mark-{'0' * 16}"):
        (tmp_path / "model" / name).touch()
    os.utime(tmp_path / "model" / f"mark-{'0' * 16}", (0, 0))
    shards.write(second, tmp_path / "model", ALONE)
    assert len(list((tmp_path / "model").iterdir())) == 2
    np.testing.assert_array_equal(load(tmp_path / "model").user_factors, second.user_factors)


def test_other_folders_are_left_alone(tmp_path):
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(ValueError, match="holds other things than a model"):
        shards.write(model(), tmp_path, ALONE)
    with pytest.raises(ValueError, match="is a file, and a model of several processes is a folder"):
        shards.write(model(), tmp_path / "letters.txt", ALONE)
    assert (tmp_path / "letters.txt").read_text() == "dear"


def test_what_a_killed_writer_left_of_its_first_model_is_no_other_thing(tmp_path):
    for name in (
        f".dmc-{'0' * 16}-{_whole_file._machine()}-{'0' * 16}.part",
        f"mark-{'0' * 16}",
        "users-cafe-00000.dmc",
    ):
        (tmp_path / name).touch()
    ours = model()
    shards.write(ours, tmp_path, ALONE)
    np.testing.assert_array_equal(load(tmp_path).user_factors, ours.user_factors)


def test_each_user_is_found_in_a_file(tmp_path):
    ours = model()
    shards.write(ours, tmp_path / "a", ALONE)
    files = {"left.dmc": list(range(0, 1024, 2)), "right.dmc": list(range(1, 1023, 2))}
    (tmp_path / "a" / listing.LIST).write_text(json.dumps({"format": listing.FORMAT, "version": 1, "files": files}))
    found = file_of(tmp_path / "a", ours.users_.ids)
    assert set(found) == set(files)
    assert file_of(tmp_path / "a", [str(i) for i in ours.users_.ids]) == found
    assert file_of(tmp_path / "a", int(ours.users_.ids[3])) == [found[3]]
    assert set(file_of(tmp_path / "a", range(10_000))) == set(files)  # part 1,023, too, in which nobody is


def test_rows_and_paths_are_told_apart(tmp_path):
    assert shards.are_paths("a.parquet")
    assert shards.are_paths([tmp_path, "b"])
    assert not shards.are_paths(iter(()))
    assert not shards.are_paths([])  # of a process that has no rows


def test_a_table_is_its_batches_and_numbers_are_no_rows():
    import pyarrow as pa

    (batch,) = shards.rows_of(pa.table({"user": [1, 2]}))
    assert batch.num_rows == 2
    with pytest.raises(TypeError, match="the source is 5; give paths of Parquet files, or Arrow record batches"):
        shards.rows_of(5)
