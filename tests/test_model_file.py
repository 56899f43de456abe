"""What was saved comes back; what was damaged, cut off, or never ours is refused with a sentence; saving is atomic."""

import json
import os
import re
import resource
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

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
    with pytest.raises(ValueError, match="pipe is a device or a pipe, which would be replaced; give the path of"):
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
        with pytest.raises(OSError, match="the system allows no file that large"):
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


def test_mapped_is_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(model_file, "SMALL", 0)
    model_file.save(tmp_path / "model", "Thing", ARRAYS, HEADER)
    found = model_file.load(tmp_path / "model", "Thing", mmap=True)
    assert_same(found, (ARRAYS, HEADER))
    for name, array in found[0].items():
        assert backed(array) or array.dtype.kind == "U", name  # text is decoded
        if array.dtype.kind != "U" and array.size:
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0


def test_mapped_replaced_meanwhile(small, monkeypatch):
    monkeypatch.setattr(model_file, "SMALL", 0)
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


def saved_by_version_4(path, arrays, metadata) -> None:
    """As dmc wrote files before they had a digest of every byte."""
    crc = 0
    for key in ("format", "version", "kind", "header"):
        crc = zlib.crc32(metadata[key].encode(), crc)
    for name in sorted(arrays):
        crc = zlib.crc32(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode(), crc)
        crc = zlib.crc32(arrays[name].tobytes(), crc)
    save_file(arrays, path, metadata | {"checksum": str(crc)})


@pytest.mark.parametrize("version", [3, 4])
def test_older_versions_are_read_and_checked(version, tmp_path):
    arrays = {"b": np.arange(3.0), "a": np.array([True, False])}
    metadata = {"format": "dmc", "version": str(version), "kind": "Thing", "header": json.dumps(HEADER)}
    saved_by_version_4(tmp_path / "old", arrays, metadata)
    assert_same(model_file.load(tmp_path / "old", "Thing"), (arrays, HEADER))
    raw = bytearray((tmp_path / "old").read_bytes())
    raw[-1] ^= 1
    (tmp_path / "old").write_bytes(raw)
    with pytest.raises(ValueError, match="do not match their checksum"):
        model_file.load(tmp_path / "old", "Thing")


def test_files_of_before_the_first_release_are_refused(tmp_path):
    metadata = {"format": "dmc", "version": "2", "kind": "Thing", "header": "{}"}
    saved_by_version_4(tmp_path / "old", {"a": np.zeros(1)}, metadata)
    with pytest.raises(ValueError, match=r"has format version 2, of a dmc before its first release, .*; fit the model"):
        model_file.load(tmp_path / "old", "Thing")


# --- one model, one file


def test_the_same_bytes_in_every_process(tmp_path):
    """In any order of the arrays, and whatever this process hashes."""
    model_file.save(tmp_path / "model", "Thing", ARRAYS, HEADER)
    model_file.save(tmp_path / "again", "Thing", dict(reversed(ARRAYS.items())), HEADER)
    code = (
        "import sys, json, numpy as np; sys.path.insert(0, sys.argv[2]); from test_model_file import ARRAYS, HEADER;"
        "from dmc import model_file; model_file.save(sys.argv[1], 'Thing', ARRAYS, HEADER)"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "other", Path(__file__).parent], check=True)
    assert len({(tmp_path / name).read_bytes() for name in ("model", "again", "other")}) == 1


def test_numbers_are_aligned(tmp_path):
    model_file.save(tmp_path / "model", "Thing", ARRAYS, HEADER)
    raw = (tmp_path / "model").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    assert (8 + length) % 64 == 0
    told = json.loads(raw[8 : 8 + length])
    sizes = {"BOOL": 1, "U8": 1, "I32": 4, "F32": 4, "I64": 8, "F64": 8}
    assert all(of["data_offsets"][0] % sizes[of["dtype"]] == 0 for name, of in told.items() if name != "__metadata__")


# --- digest, features, and what is no file


def test_small_files_are_copied_and_checked_though_they_are_to_be_mapped(small):
    arrays, _ = model_file.load(small[0], "Thing", mmap=True)
    os.truncate(small[0], 10)  # of a map this would end the process
    np.testing.assert_array_equal(arrays["U"], small[1][0]["U"])


def test_a_mapped_file_is_checked_when_that_is_asked_for(small, monkeypatch):
    monkeypatch.setattr(model_file, "SMALL", 0)
    raw = bytearray(small[0].read_bytes())
    raw[-1] ^= 1
    small[0].write_bytes(raw)
    model_file.load(small[0], "Thing", mmap=True)
    with pytest.raises(ValueError, match="do not match their checksum; save the model again"):
        model_file.load(small[0], "Thing", mmap=True, verify=True)


def test_what_a_file_requires(tmp_path, monkeypatch):
    model_file.save(tmp_path / "model", "Thing", {"a": np.zeros(1)}, {}, requires=["sparse factors", "signatures"])
    with pytest.raises(ValueError, match="requires 'sparse factors', 'signatures', which this dmc does not know; inst"):
        model_file.load(tmp_path / "model", "Thing")
    monkeypatch.setattr(model_file, "FEATURES", frozenset({"sparse factors", "signatures"}))
    assert model_file.load(tmp_path / "model", "Thing")[1] == {}


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/null"):
        with pytest.raises(ValueError, match="is not a model file, but a device or a pipe; give the path of a file"):
            model_file.load(path, "Thing")


def test_a_file_that_is_cut_short_while_it_is_read(tmp_path, monkeypatch):
    path, read_head = tmp_path / "model", model_file._container.read_head
    model_file.save(path, "Thing", {"a": np.zeros(100_000)}, {})

    def cut(file, size):
        head = read_head(file, size)
        os.truncate(path, size - 1)
        return head

    monkeypatch.setattr(model_file._container, "read_head", cut)
    with pytest.raises(ValueError, match="was cut short while it was read"):
        model_file.load(path, "Thing")


def test_no_room(small, monkeypatch):
    def none(*_):
        raise MemoryError

    monkeypatch.setattr(model_file.np, "empty", none)
    with pytest.raises(
        MemoryError, match="small takes 0 MiB and there is no room for it; free memory, or load it with mm"
    ):
        model_file.load(small[0], "Thing")


# --- text


def with_pieces(path, pieces) -> None:
    """A file whose text is of these bytes."""
    text = np.frombuffer(b"".join(pieces), np.uint8)
    ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
    model_file.save(path, "Thing", {"a.text": text, "a.ends": ends}, {})


def test_a_long_piece_gives_the_others_no_room(tmp_path):
    with_pieces(tmp_path / "model", [b"x" * 10**6, *(b"u%d" % i for i in range(300))])
    tracemalloc.start()
    (found,) = model_file.load(tmp_path / "model", "Thing")[0].values()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * 10**6
    assert found[[0, 300]].tolist() == ["x" * 10**6, "u299"]
    model_file.save(tmp_path / "again", "Thing", {"a": found}, {})
    assert (tmp_path / "again").read_bytes() == (tmp_path / "model").read_bytes()


def test_pieces_that_end_with_nul_are_refused(tmp_path):
    with_pieces(tmp_path / "model", [b"a", b"a\0"])
    with pytest.raises(ValueError, match="a piece of the text 'a' ends with a NUL character; save the model again"):
        model_file.load(tmp_path / "model", "Thing")


@pytest.mark.parametrize("ends", [[1, 3], [2, 1, 2], [-1, 2], [3], [], [2**62, 2]])
def test_pieces_that_do_not_follow_each_other(ends, tmp_path):
    arrays = {"a.text": np.frombuffer(b"xy", np.uint8), "a.ends": np.array(ends, np.int64)}
    model_file.save(tmp_path / "model", "Thing", arrays, {})
    with pytest.raises(ValueError, match="the pieces of the text 'a' do not follow each other; save the model again"):
        model_file.load(tmp_path / "model", "Thing")


@pytest.mark.parametrize("mmap", [False, True])
def test_a_file_is_opened_once(mmap, tmp_path, monkeypatch):
    """Another one that takes its place while it is opened is read whole, or not at all."""
    monkeypatch.setattr(model_file, "SMALL", 0)
    path, newer = tmp_path / "model", tmp_path / "newer"
    for file, value in ((path, 1.0), (newer, 2.0)):
        model_file.save(file, "Test", {"x": np.full(5, value)}, {"value": value, "long": "x" * int(100 * value)})
    opened = os.open

    def replaced_meanwhile(*args, **kwargs):
        number = opened(*args, **kwargs)
        os.replace(newer, path)
        return number

    monkeypatch.setattr(model_file.os, "open", replaced_meanwhile)
    arrays, header = model_file.load(path, "Test", mmap=mmap)
    assert arrays["x"].tolist() == [header["value"]] * 5
