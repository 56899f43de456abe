"""A file appears whole or not at all; what is beside it, and what it may not replace, stays as it was."""

import contextlib
import errno
import os
import resource
import shutil
import stat
import sys
import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from dmc import _whole_file
from dmc._whole_file import refuse_unwritable, remove_leftovers, whole_file


def put(path, contents=b"new") -> None:
    with whole_file(path) as file:
        file.write(contents)


def names(folder) -> list[str]:
    return sorted(os.listdir(folder))


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


# --- what a path names


@pytest.mark.parametrize(
    "path", ["m", b"m", Path("m"), "./m", "x" * 255, "a\nb", b"\xff\xfe", "日本語", "folder/m", "-"]
)
def test_any_name_of_a_file(path, here):
    Path("folder").mkdir()
    for contents in (b"first", b"second"):
        put(path, contents)
        with open(path, "rb") as file:
            assert file.read() == contents
    assert len(names(here)) + len(names("folder")) == 2


def test_a_relative_path_counts_from_where_the_block_began(here):
    Path("elsewhere").mkdir()
    with whole_file("m") as file:
        os.chdir("elsewhere")
        file.write(b"new")
    assert (here / "m").read_bytes() == b"new"
    assert names(here / "elsewhere") == []


def test_links_stay_links(here):
    for folder in ("real", "store"):
        Path(folder).mkdir()
    put("store/m", b"old")
    for link, to in {"now": "store/m", "then": "now", "dangling": "store/new", "real/up": "../store"}.items():
        os.symlink(to, link)
    for path, target in {"then": "store/m", "dangling": "store/new", "real/up/n": "store/n"}.items():
        put(path, path.encode())
        assert Path(target).read_bytes() == path.encode()
    assert all(map(os.path.islink, ("now", "then", "dangling", "real/up")))
    assert names("store") == ["m", "n", "new"]
    assert names(here) == ["dangling", "now", "real", "store", "then"]


@pytest.mark.parametrize(
    ("path", "kind", "told"),
    [
        ("folder", IsADirectoryError, "folder is a folder; give the path of a file"),
        ("folder/", IsADirectoryError, "folder/ is a folder; give the path of a file"),
        ("to folder", IsADirectoryError, "to folder is a folder; give the path of a file"),
        ("pipe", ValueError, "pipe is a device or a pipe, which would be replaced; give the path of a file"),
        ("/dev/null", ValueError, "/dev/null is a device or a pipe, which would be replaced; give the path of a file"),
        ("loop", OSError, "loop is a link that leads back to itself; remove it"),
        ("", ValueError, "the path is empty; give the path of a file"),
        ("a\0b", ValueError, r"the path 'a\x00b' holds a null byte, which no file's name can; give another"),
        ("none/m", FileNotFoundError, "there is no folder none to save m in; make it first"),
        ("no\nne/m", FileNotFoundError, r"there is no folder 'HERE/no\nne' to save m in; make it first"),
        ("to none", FileNotFoundError, "there is no folder HERE/none to save x in; make it first"),
        ("~/m", FileNotFoundError, "there is no folder ~: only a shell replaces the ~ of ~/m; give the path in"),
        ("file/deep/m", NotADirectoryError, "file/deep/m cannot be written, as HERE/file is not a folder"),
        ("x" * 256, OSError, "cannot be written (file name too long)"),
    ],
)
def test_what_is_no_regular_file_is_refused(path, kind, told, here):
    Path("folder").mkdir()
    Path("file").write_text("kept")
    os.symlink("folder", "to folder")
    os.symlink("loop", "loop")
    os.symlink("none/x", "to none")
    os.mkfifo("pipe")
    before = names(here)
    with pytest.raises(kind) as found, whole_file(path):
        pytest.fail("the block began")
    assert told.replace("HERE", str(here)) in str(found.value)
    assert "\n" not in str(found.value)
    assert names(here) == before
    assert names("folder") == []
    assert Path("file").read_text() == "kept"


def test_a_pipe_behind_a_descriptor_is_refused():
    """As /dev/stdout is, in front of a |."""
    ends = os.pipe()
    try:
        with (
            pytest.raises(
                ValueError, match=r"^/dev/fd/\d+ is a device or a pipe, which would be replaced; give the path"
            ),
            whole_file(f"/dev/fd/{ends[1]}"),
        ):
            pytest.fail("the block began")
    finally:
        for end in ends:
            os.close(end)


# --- what stays as it was


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o400, 0o444, 0o755, 0o664])
def test_the_mode_stays(mode, here):
    put("m")
    os.chmod("m", mode)
    put("m", b"newer")
    assert stat.S_IMODE(os.stat("m").st_mode) == mode
    assert Path("m").read_bytes() == b"newer"
    assert names(here) == ["m"]


def test_whose_a_file_is_stays_as_far_as_the_system_lets_us(here, monkeypatch):
    """A group that cannot be kept is not replaced by another that may read."""
    asked = []
    allowed = {"owner": True, "group": True}

    def fchown(_, owner, group):
        asked.append((owner, group))
        if not (allowed["owner"] if owner >= 0 else allowed["group"]):
            raise PermissionError

    monkeypatch.setattr(os, "fchown", fchown)
    put("m")
    old = SimpleNamespace(st_mode=0o104664, st_uid=os.getuid() + 1, st_gid=7)
    with open("m") as file:
        for name, mode in ((None, 0o4664), ("owner", 0o664), ("group", 0o644)):
            allowed |= {name: False} if name else {}
            _whole_file._keep_access(file.fileno(), "m", old)
            assert stat.S_IMODE(os.stat("m").st_mode) == mode
    assert asked == [(old.st_uid, 7)] * 2 + [(-1, 7), (old.st_uid, 7), (-1, 7)]


def as_nobody(work) -> str:
    """What it raises in a process of one who has no rights."""
    reads, writes = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.setgroups([])
            os.setgid(65_534)
            os.setuid(65_534)
            work()
        except BaseException as error:
            os.write(writes, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(writes)
    os.waitpid(child, 0)
    with open(reads) as told:
        return told.read()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only the superuser may become somebody else")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_one_without_rights():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        path = folder / "m"
        path.write_bytes(b"old")
        path.chmod(0o640)
        told = (
            f"PermissionError: the folder {folder} cannot be written to (permission denied), which saving {path} needs"
        )
        assert as_nobody(lambda: put(path)) == f"{told}; give another path"
        assert as_nobody(lambda: refuse_unwritable(path)) == f"{told}; give another path"
        folder.chmod(0o333)  # to be written into, and not to be read
        assert as_nobody(lambda: put(path)) == ""
        assert names(folder) == ["m"]
        assert path.read_bytes() == b"new"
        found = path.stat()
        assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (65_534, 0o600)
        assert as_nobody(lambda: put(path, b"newer")) == ""
        path.chmod(0)
        put(path, b"newest")  # the superuser's, and still the other's
        found = path.stat()
        assert (found.st_uid, stat.S_IMODE(found.st_mode), path.read_bytes()) == (65_534, 0, b"newest")


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_new_file_is_as_open_makes_it(mask, here):
    before = os.umask(mask)
    try:
        put("m")
        Path("other").write_bytes(b"")
    finally:
        os.umask(before)
    assert os.stat("m").st_mode == os.stat("other").st_mode


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_a_block_that_fails_changes_nothing(error, here):
    Path("m").write_bytes(b"old")

    def fail(path):
        with whole_file(path) as file:
            file.write(b"half")
            raise error

    for path in ("m", "new"):
        with pytest.raises(error):
            fail(path)
    assert names(here) == ["m"]
    assert Path("m").read_bytes() == b"old"


@pytest.mark.parametrize("size", [3_000, 100_000])  # that a buffer holds until the end, and that it does not
def test_a_full_disk_leaves_the_old_file(size, here):
    Path("m").write_bytes(b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
        with pytest.raises(OSError, match=r"^the system allows no file that large .*: m is not written, and what") as e:
            put("m", bytes(size))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert e.value.errno == errno.EFBIG
    assert Path("m").read_bytes() == b"old"
    assert names(here) == ["m"]


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of a file that is closed as its last name goes
@pytest.mark.parametrize("first", range(1, 24, 4))
def test_ctrl_c_at_any_moment(first, here):
    """After any instruction of the writer, or of what makes a context of it: old or new, and nothing beside it."""
    files = {_whole_file.__file__, contextlib.__file__}
    seen, at = 0, first

    def trace(frame, event, _):
        nonlocal seen
        if frame.f_code.co_filename not in files:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            seen += 1
            if seen == at:
                raise KeyboardInterrupt
        return trace

    found = set()

    def interrupted_everywhere():
        nonlocal seen, at
        while seen >= at or at == first:
            Path("m").write_bytes(b"old")
            seen, at = 0, at + 23
            sys.settrace(trace)
            try:
                put("m", b"new")
                found.add("not told of the interrupt" if seen >= at else "")
            except KeyboardInterrupt:
                pass
            finally:
                sys.settrace(None)
            found.add(Path("m").read_bytes())
            found.update(set(names(here)) - {"m"})

    # An exception between the instructions of an except block stays "the one that is handled" of its thread for ever.
    thread = threading.Thread(target=interrupted_everywhere)
    thread.start()
    thread.join()
    assert found == {b"old", b"new", ""}


def test_a_folder_or_a_temporary_file_that_goes_meanwhile(here):
    Path("folder").mkdir()

    def lose(remove):
        with whole_file("folder/m"):
            remove()

    with pytest.raises(FileNotFoundError, match="there is no folder folder to save m in; make it first"):
        lose(lambda: shutil.rmtree("folder"))
    Path("folder").mkdir()
    with pytest.raises(FileNotFoundError, match="somebody has removed the temporary file of folder/m while it was"):
        lose(lambda: [path.unlink() for path in Path("folder").iterdir()])
    with pytest.raises(IsADirectoryError, match="folder/m is a folder"):
        lose(lambda: Path("folder/m").mkdir())
    assert names("folder") == ["m"]


def test_a_block_may_close_its_file_and_fail_of_other_things(here):
    with whole_file("m") as file:
        file.write(b"closed")
        file.close()
    assert Path("m").read_bytes() == b"closed"
    with pytest.raises(OSError, match="No space left on device: 'elsewhere'"), whole_file("m"):
        raise OSError(errno.ENOSPC, "No space left on device", "elsewhere")


# --- others


def test_the_user_s_own_files_stay(here):
    """Also links that somebody has put where a temporary file might come."""
    Path("victim").write_text("precious")
    for name in (".m.part", "m.tmp", ".dmc.part", ".dmc-m.part"):
        Path(name).write_text("mine")
    os.symlink("victim", "m.part")
    os.symlink("victim", ".dmc-" + "0" * 16 + "-" + "0" * 8 + "-" + "0" * 16 + ".part")
    before = {name: Path(name).read_text() for name in names(here)}
    put("m")
    remove_leftovers(here)
    assert {name: Path(name).read_text() for name in names(here) if name != "m"} == before


def left_over(target: str) -> str:
    name = _whole_file._name(target)
    Path(name).write_bytes(b"half")
    return name


def test_what_a_killed_writer_left_goes_with_the_next_save(here):
    left_over("m")
    other = left_over("n")
    os.mkdir(_whole_file._name("m"))
    os.mkfifo(_whole_file._name("m"))
    before = len(names(here))
    put("m")
    assert len(names(here)) == before  # one more, and one less
    assert os.path.exists(other)
    put("n")
    assert not os.path.exists(other)
    remove_leftovers("/there is no such folder")


def test_the_file_of_a_living_writer_stays(here):
    with whole_file("m") as first:
        first.write(b"first")
        with whole_file("m") as second:
            second.write(b"second")
        remove_leftovers(here)
        assert Path("m").read_bytes() == b"second"
    assert Path("m").read_bytes() == b"first"
    assert names(here) == ["m"]


def test_that_of_another_machine_stays_for_a_day(here, monkeypatch):
    """Its lock may not be seen here."""
    with monkeypatch.context() as patch:
        patch.setattr(_whole_file, "_machine", lambda: "0" * 8)
        theirs = left_over("m")
    put("m")
    assert names(here) == [theirs, "m"]
    os.utime(theirs, (0, 0))
    put("m")
    assert names(here) == ["m"]


def test_one_who_cleans_up_between_making_and_locking(here, monkeypatch):
    """The file is gone before it is locked: another is made."""
    lock, taken = _whole_file._lock, []

    def late(descriptor):
        if len(taken) < 3:
            taken.extend(here.iterdir())
            for path in here.iterdir():
                path.unlink()
        return lock(descriptor)

    monkeypatch.setattr(_whole_file, "_lock", late)
    put("m")
    assert len(taken) == 3
    assert names(here) == ["m"]


def test_threads_write_one_path(here):
    wrong, contents = [], [bytes([65 + i]) * 50_000 for i in range(4)]
    put("m", contents[0])

    def work(mine):
        try:
            for _ in range(30):
                put("m", mine)
                assert Path("m").read_bytes() in contents
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert names(here) == ["m"]


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("ends", ["leaves the block", "raises"])
def test_a_fork_inside_the_block_leaves_all_to_its_parent(ends, here):
    child = 1
    try:
        with whole_file("m") as file:
            file.write(b"once")
            child = os.fork()
            if child == 0:
                file.write(b"twice")
                if ends == "raises":
                    raise ValueError
            else:
                os.waitpid(child, 0)
                assert len(names(here)) == 1
    finally:
        if child == 0:
            os._exit(0)
    assert Path("m").read_bytes() == b"once"
    assert names(here) == ["m"]
