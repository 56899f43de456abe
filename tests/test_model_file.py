"""What was saved comes back; what was damaged, cut off, or never ours is refused with a sentence; saving is atomic."""

import json
import os
import re
import resource

import numpy as np
import pytest
from safetensors.numpy import save_file

from dmc import model_file

ARRAYS = {
    "float32": np.array([[1.5, -0.0, np.inf], [3, 4, 1e-40]], np.float32),
    "float64": np.linspace(0, 1, 5),
    "int32": np.array([-1, 2**31 - 1], np.int32),
    "int64": np.array([-1, 2**63 - 1]),
    "bool": np.array([True, False]),
    "nothing": np.zeros((0, 3)),
    "number": np.array(7.0),
    "text": np.array(["", "plain", "Amélie", "日本語", "a\nb", "x" * 300, ""]),
    "no text": np.array([], dtype=str),
    "bytes as they were": np.array([b"Am\xe9lie".decode("utf-8", "surrogateescape")]),
}
HEADER = {"columns": ["user", "Größe"], "mean": 3.5, "nothing": None, "rank": 4, "nested": {"a": [1, 2.5]}}


def assert_same(found, expected) -> None:
    arrays, header = found
    assert header == expected[1]
    assert set(arrays) == set(expected[0])
    for name, array in expected[0].items():
        assert arrays[name].dtype.kind == array.dtype.kind
        if array.dtype.kind != "U":
            assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].shape == array.shape


# --- round trip


def test_round_trip(tmp_path):
    model_file.save(tmp_path / "model", "Thing", ARRAYS, HEADER)
    assert_same(model_file.load(tmp_path / "model", "Thing"), (ARRAYS, HEADER))
    model_file.save(str(tmp_path / "again"), "Thing", ARRAYS, HEADER)
    assert_same(model_file.load(str(tmp_path / "again"), "Thing"), (ARRAYS, HEADER))


@pytest.mark.parametrize(
    "array",
    [
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(12.0).reshape(3, 4)[:, ::2],
        np.arange(5.0)[::-1],
        np.broadcast_to(np.float32(2), (2, 2)),
        np.arange(3, dtype=">f8"),  # as FITS and network formats store it
        np.array(["b", "a"], dtype=">U1"),
    ],
    ids=["fortran", "strided", "reversed", "broadcast", "big-endian", "big-endian text"],
)
def test_arrays_laid_out_otherwise(array, tmp_path):
    model_file.save(tmp_path / "model", "Thing", {"a": array}, {})
    (found,) = model_file.load(tmp_path / "model", "Thing")[0].values()
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("seed", range(5))
def test_any_text(seed, tmp_path):
    rng = np.random.default_rng(seed)
    planes = np.concatenate([np.arange(1, 0xD800), np.arange(0xE000, 0x11000)])
    pieces = ["".join(map(chr, rng.choice(planes, rng.integers(0, 9)))) for _ in range(100)]
    model_file.save(tmp_path / "model", "Thing", {"a": np.array(pieces)}, {})
    assert model_file.load(tmp_path / "model", "Thing")[0]["a"].tolist() == pieces


def test_the_file_is_plain_safetensors(tmp_path):
    """Anybody's reader opens it, and it starts with no pickle: the length of a JSON header, then the header."""
    model_file.save(tmp_path / "model", "Thing", {"a": np.arange(3.0)}, HEADER)
    raw = (tmp_path / "model").read_bytes()
    head = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    assert head["__metadata__"]["format"] == "dmc"
    assert head["__metadata__"]["version"] == str(model_file.VERSION)
    assert head["a"]["dtype"] == "F64"


# --- damaged


@pytest.fixture
def small(tmp_path):
    arrays = {"U": np.arange(6, dtype=np.float32).reshape(3, 2), "ids": np.array(["a", "bc"]), "n": np.array([3, 4])}
    header = {"columns": ["user", "item"], "mean": 3.25, "rank": 2}
    model_file.save(tmp_path / "small", "Thing", arrays, header)
    return tmp_path / "small", (arrays, header)


def test_cut_off_anywhere(small, tmp_path):
    path = tmp_path / "cut"
    raw = small[0].read_bytes()
    for length in range(len(raw)):
        path.write_bytes(raw[:length])
        with pytest.raises(ValueError, match=re.escape(f"{path} is not a model file, or is damaged")):
            model_file.load(path, "Thing")


def test_too_long(small, tmp_path):
    (tmp_path / "long").write_bytes(small[0].read_bytes() + b"\0")
    with pytest.raises(ValueError, match="is damaged"):
        model_file.load(tmp_path / "long", "Thing")


@pytest.mark.parametrize("flip", [0x01, 0x02, 0x0F, 0x13, 0x20, 0xFF])  # 0x13 makes of a float (F32) an integer (U32)
def test_one_byte_changed_anywhere(flip, small, tmp_path):
    """Each is refused with a sentence that names the file; nothing that differs from what was saved is handed out."""
    path = tmp_path / "changed"
    raw = small[0].read_bytes()
    for place in range(len(raw)):
        changed = bytearray(raw)
        changed[place] ^= flip
        path.write_bytes(changed)
        try:
            found = model_file.load(path, "Thing")
        except ValueError as error:
            assert str(path) in str(error), (place, error)  # noqa: PT017 (most raise, none has to)
        else:
            assert_same(found, small[1])


# --- not ours


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, "was not written by dmc"),
        ({"format": "pt"}, "was not written by dmc"),
        ({"format": "dmc"}, ""),
        ({"format": "dmc", "version": "1", "kind": "Thing"}, ""),
        ({"format": "dmc", "version": "99", "kind": "Thing"}, "has format version 99 .* install a newer dmc"),
        ({"format": "dmc", "version": "one", "kind": "Thing"}, "version"),
        ({"format": "dmc", "version": "²", "kind": "Thing"}, "version"),  # a digit, and yet no number
    ],
)
def test_foreign_safetensors(metadata, message, tmp_path):
    save_file({"a": np.zeros(3)}, tmp_path / "foreign", metadata)
    with pytest.raises(ValueError, match=f"{re.escape(str(tmp_path))}.*{message}"):
        model_file.load(tmp_path / "foreign", "Thing")


@pytest.mark.parametrize("content", [b"", b"user,item,rating\n1,2,3\n", b"\x80\x04\x95", b"PK\x03\x04" + bytes(99)])
def test_other_files(content, tmp_path):
    (tmp_path / "other").write_bytes(content)
    with pytest.raises(ValueError, match="other is not a model file, or is damaged"):
        model_file.load(tmp_path / "other", "Thing")


def test_another_kind(small):
    with pytest.raises(ValueError, match=r"small holds a Thing, not a Recommender; load it with dmc\.Thing"):
        model_file.load(small[0], "Recommender")


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no model file .*nope; check the path"):
        model_file.load(tmp_path / "nope", "Thing")
    with pytest.raises(ValueError, match=re.escape(str(tmp_path))):
        model_file.load(tmp_path, "Thing")  # a folder


# --- saving


def test_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nope to save model in; make it first"):
        model_file.save(tmp_path / "nope" / "model", "Thing", ARRAYS, {})


def test_a_link_stays_one_and_a_device_is_not_replaced(tmp_path):
    (tmp_path / "today").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "today" / "model")
    model_file.save(tmp_path / "link", "Thing", ARRAYS, HEADER)
    assert (tmp_path / "link").is_symlink()
    assert_same(model_file.load(tmp_path / "today" / "model", "Thing"), (ARRAYS, HEADER))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe is a device or a pipe, which a model would replace; give the path of"):
        model_file.save(tmp_path / "pipe", "Thing", ARRAYS, HEADER)


def test_a_folder_in_its_place(tmp_path):
    (tmp_path / "model").mkdir()
    with pytest.raises(IsADirectoryError, match="model is a folder"):
        model_file.save(tmp_path / "model", "Thing", ARRAYS, {})
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_replaces(small):
    model_file.save(small[0], "Thing", {"a": np.ones(2)}, {"b": 1})
    assert_same(model_file.load(small[0], "Thing"), ({"a": np.ones(2)}, {"b": 1}))


def test_a_write_that_fails_leaves_the_old_file(small, tmp_path):
    """A real one: the system refuses files larger than a kilobyte, as a full disk would half-way."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
        with pytest.raises(OSError, match="too large"):
            model_file.save(small[0], "Thing", {"a": np.ones(10_000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert_same(model_file.load(small[0], "Thing"), small[1])
    assert [p.name for p in tmp_path.iterdir()] == ["small"]


def test_what_cannot_be_stored_leaves_the_old_file(small, tmp_path):
    with pytest.raises(TypeError, match="not JSON serializable"):
        model_file.save(small[0], "Thing", {"a": np.zeros(3)}, {"b": object()})
    assert_same(model_file.load(small[0], "Thing"), small[1])
    assert [p.name for p in tmp_path.iterdir()] == ["small"]


# --- mapped


def backed(array) -> bool:
    while array is not None and not isinstance(array, np.memmap):
        array = array.base
    return array is not None


def test_mapped_is_the_same(tmp_path):
    model_file.save(tmp_path / "model", "Thing", ARRAYS, HEADER)
    found = model_file.load(tmp_path / "model", "Thing", mmap=True)
    assert_same(found, (ARRAYS, HEADER))
    for name, array in found[0].items():
        assert backed(array) or array.dtype.kind == "U", name  # text is decoded
        if array.dtype.kind != "U" and array.size:
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0


def test_mapped_replaced_meanwhile(small):
    """The file that was mapped stays what it was, though another has its name by now."""
    (arrays, _) = model_file.load(small[0], "Thing", mmap=True)
    model_file.save(small[0], "Thing", {"U": np.full((3, 2), -1, np.float32)}, {})
    np.testing.assert_array_equal(arrays["U"], small[1][0]["U"])


def test_mapped_files_are_checked_for_their_kind_and_length(small, tmp_path):
    with pytest.raises(ValueError, match="holds a Thing, not a Recommender"):
        model_file.load(small[0], "Recommender", mmap=True)
    raw = small[0].read_bytes()
    for length in (0, 7, 50, len(raw) - 1):
        (tmp_path / "cut").write_bytes(raw[:length])
        with pytest.raises(ValueError, match="is not a model file, or is damaged"):
            model_file.load(tmp_path / "cut", "Thing", mmap=True)
    with pytest.raises(FileNotFoundError, match="there is no model file"):
        model_file.load(tmp_path / "nope", "Thing", mmap=True)


@pytest.mark.parametrize("mmap", [False, True])
def test_nothing_at_all(mmap, tmp_path):
    model_file.save(tmp_path / "model", "Thing", {"a": np.zeros((0, 2))}, {"b": 1})
    arrays, header = model_file.load(tmp_path / "model", "Thing", mmap=mmap)
    assert (arrays["a"].shape, header) == ((0, 2), {"b": 1})


@pytest.mark.parametrize("version", [1, 2])
def test_older_versions_are_read(version, tmp_path, monkeypatch):
    monkeypatch.setattr(model_file, "VERSION", version)
    model_file.save(tmp_path / "model", "Thing", ARRAYS, HEADER)
    monkeypatch.undo()
    assert_same(model_file.load(tmp_path / "model", "Thing"), (ARRAYS, HEADER))


def test_a_mapped_file_is_one_file(tmp_path, monkeypatch):
    """Another one that takes its place while it is opened is read whole, or not at all."""
    import safetensors

    path, newer = tmp_path / "model", tmp_path / "newer"
    for file, value in ((path, 1.0), (newer, 2.0)):
        model_file.save(file, "Test", {"x": np.full(5, value)}, {"value": value, "long": "x" * int(100 * value)})
    opened = safetensors.safe_open

    def replaced_meanwhile(*args, **kwargs):
        file = opened(*args, **kwargs)
        os.replace(newer, path)
        return file

    monkeypatch.setattr(safetensors, "safe_open", replaced_meanwhile)
    arrays, header = model_file.load(path, "Test", mmap=True)
    assert arrays["x"].tolist() == [header["value"]] * 5
