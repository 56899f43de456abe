"""Ids and vectors as other programs read them; files that appear together or not at all."""

import errno
import resource

import numpy as np
import pytest

from dmc.recommend.export import export


@pytest.mark.parametrize("ids", [np.array([5, -7, 2**62]), np.array(["a", "", "é"])], ids=["numbers", "text"])
def test_export(ids, tmp_path):
    from pyarrow import parquet

    vectors = np.arange(12, dtype=np.float32).reshape(3, 4)[:, ::2]
    written = export(tmp_path / "a" / "b", "npy", {"user": (ids, vectors)})
    assert written == [tmp_path / "a" / "b" / name for name in ("users.npy", "user_factors.npy")]
    for path, array in zip(written, (ids, vectors), strict=True):
        np.testing.assert_array_equal(np.load(path), array)
    (path,) = export(str(tmp_path), "parquet", {"user": (ids, vectors)})
    table = parquet.read_table(path)
    assert table["id"].to_pylist() == ids.tolist()
    assert table["vector"].to_pylist() == vectors.tolist()
    assert table.schema.field("vector").type.list_size == 2


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ImportError, match="Parquet needs pyarrow, which is not installed; run: pip install pyarrow"):
        export(tmp_path, "parquet", {"user": (np.arange(2), np.zeros((2, 1), np.float32))})


@pytest.mark.parametrize("format", ["npy", "parquet"])
def test_a_full_disk_leaves_all_that_was_there(format, tmp_path):
    ids, vectors = np.arange(10), np.random.default_rng(0).standard_normal((10, 2)).astype(np.float32)
    before = {path: path.read_bytes() for path in export(tmp_path, format, {"user": (ids, vectors)})}
    many = np.random.default_rng(1).standard_normal((2000, 4)).astype(np.float32)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))  # the ids of NumPy's files fit
        with pytest.raises(OSError, match="allows no file that large") as error:
            export(tmp_path, format, {"user": (np.arange(2000), many), "item": (ids, vectors)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert error.value.errno == errno.EFBIG
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_same_vectors_make_the_same_files(tmp_path):
    ids, vectors = np.array(["a", "é"]), np.arange(6, dtype=np.float32).reshape(2, 3)
    for format in ("npy", "parquet"):
        files = [[path.read_bytes() for path in export(tmp_path, format, {"user": (ids, vectors)})] for _ in range(2)]
        assert files[0] == files[1]


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(NotADirectoryError, match="file is a file; give the path of a folder"):
        export(tmp_path / "file", "npy", {"user": (np.arange(2), np.zeros((2, 1), np.float32))})
    assert (tmp_path / "file").read_text() == "kept"
