"""The one writer of files: a file appears whole or not at all, whatever ends the one who writes it."""

from __future__ import annotations

import errno
import os
import platform
import re
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, TypeAlias

try:
    import fcntl
except ImportError:  # Windows, which lets nobody remove a file that is open
    fcntl = None  # type: ignore[assignment]

AnyPath: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]

# Of fixed length, however long the file's own name is: a hash of that, one of the machine, and what nobody can guess.
TEMPORARY = re.compile(r"\.dmc-[0-9a-f]{16}-(?P<machine>[0-9a-f]{8})-[0-9a-f]{16}\.part")
DAY = 86_400.0  # seconds after which nobody on another machine, whose locks may not be seen here, still writes
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_CREATE |= getattr(os, "O_BINARY", 0)
_ACCESS_LIST = "system.posix_acl_access"
_DEVICE = "{} is a device or a pipe, which would be replaced; give the path of a file"
_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the system allows no file that large (see ulimit -f)",
}


@contextmanager
def whole_file(path: AnyPath) -> Iterator[BinaryIO]:
    """An open file whose contents stand at a path once the block is left; left by an exception, nothing has changed.

    What is written goes to a temporary file in the folder of the target, with a name that nobody can foresee; it is
    made durable (fsync) and then put in the target's place, at one moment for all who read. What was there keeps its
    mode, and its owner and group as far as the system allows; a link keeps pointing to where it did. Several writers,
    in threads, processes or on machines that share the folder, do not disturb each other: the last one to end wins.

    The temporary file of a writer that was killed is removed by the next one of the same path.

    Parameters
    ----------
    path : path
        Of a regular file or of nothing yet. A relative one counts from where the process is when the block begins.

    Yields
    ------
    binary file object
        It may be closed inside the block. A process that was forked inside leaves all to its parent.

    Raises
    ------
    IsADirectoryError, FileNotFoundError, PermissionError, ValueError
        If it names a folder, a device, a pipe or a socket, or its folder is not there or not to be written to: before
        the block begins.
    OSError
        If it cannot be written, as on a full disk, in a sentence and with `errno`; what was there before stays.
    """
    shown, target = readable(path), resolved(path)
    old = replaceable(target, shown)
    owner = os.getpid()
    raw, file, temporary = None, None, ""
    try:
        for _ in range(100):  # again if one who cleans up held it to be left over, before it was locked
            temporary = os.path.join(os.path.dirname(target), _name(target))
            raw = _claimed(temporary, shown, target, 0o666 if old is None else 0o600)
            if raw is not None:
                break
        else:
            raise OSError(f"{shown} cannot be written, as each temporary file beside it is removed at once")
        remove_leftovers(os.path.dirname(target), os.path.basename(target))
        file = open(raw.fileno(), "wb", closefd=False)  # noqa: SIM115, as it is closed without what it buffers below
        yield file
        if os.getpid() == owner:
            _put(file, raw, temporary, target, old, shown)
    except OSError as error:
        if error.errno not in _FULL or error.filename is not None:
            raise
        raise _worded(error, shown) from None
    finally:
        try:
            _end(raw, file, temporary, owner)
        finally:  # a second Ctrl-C may have ended that before it was done
            _end(raw, file, temporary, owner)


def _end(raw: BinaryIO | None, file: BinaryIO | None, temporary: str, owner: int) -> None:
    """Remove what was not put in place, and only then give up the lock that says so."""
    if fcntl is None:
        _close(raw, file)
    if os.getpid() == owner:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
    _close(raw, file)


def _close(raw: BinaryIO | None, file: BinaryIO | None) -> None:
    if file is not None:
        file.raw.close()  # type: ignore[attr-defined]  # what is still in the buffer is not to be written any more
    if raw is not None:
        raw.close()


# --- what a path names


def refuse_unwritable(path: AnyPath) -> None:
    """Raise what `whole_file` would, as far as can be told without writing: before the work and not after it."""
    shown, target = readable(path), resolved(path)
    replaceable(target, shown)
    folder = os.path.dirname(target)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise _worded(PermissionError(errno.EACCES, os.strerror(errno.EACCES)), shown, folder)


def readable(path: AnyPath) -> str:
    """A path as it stands in a sentence: in quotes, if it holds what is no printable text."""
    text = os.fsdecode(path)
    return text if text.isprintable() and text else repr(text)


def resolved(path: AnyPath) -> str:
    """The absolute path that a path names, links followed to where something is, or would be."""
    text = os.fsdecode(path)
    if not text:
        raise ValueError("the path is empty; give the path of a file")
    if "\0" in text:
        raise ValueError(f"the path {text!r} holds a null byte, which no file's name can; give another")
    if text.endswith(("/", os.sep)):
        raise in_a_sentence(OSError(errno.EISDIR, ""), f"{readable(path)} is a folder; give the path of a file")
    target = os.path.realpath(text)
    if os.path.exists(text) and not os.path.lexists(target):  # /dev/stdout, as a pipe
        raise ValueError(_DEVICE.format(readable(path)))
    return target


def replaceable(target: str, shown: str) -> os.stat_result | None:
    """What a file would replace, or None; what is no regular file, and no folder to write into, are refused."""
    try:
        old = os.lstat(target)
    except FileNotFoundError:
        if os.path.isdir(os.path.dirname(target)):
            return None
        raise _no_folder(target, shown) from None
    except NotADirectoryError as error:
        told = f"{shown} cannot be written, as {readable(_file_above(target))} is not a folder; give another path"
        raise in_a_sentence(error, told) from None
    except OSError as error:
        raise _worded(error, shown) from None
    if stat.S_ISREG(old.st_mode):
        return old
    if stat.S_ISDIR(old.st_mode):
        raise in_a_sentence(OSError(errno.EISDIR, ""), f"{shown} is a folder; give the path of a file")
    if stat.S_ISLNK(old.st_mode):  # followed as far as there was something to follow
        raise in_a_sentence(OSError(errno.ELOOP, ""), f"{shown} is a link that leads back to itself; remove it")
    raise ValueError(_DEVICE.format(shown))


def _file_above(target: str) -> str:
    folder = os.path.dirname(target)
    return folder if os.path.lexists(folder) else _file_above(folder)


def _no_folder(target: str, shown: str) -> OSError:
    folder, name = map(readable, os.path.split(target))
    given = os.path.dirname(shown)
    if given and shown[0] not in "'\"" and not os.path.isdir(given):  # else it is a link that leads there
        folder = given
    missing = f"there is no folder {folder}"
    if os.path.isdir(os.path.dirname(target)):  # one such as /proc
        told = f"no file can be made in {folder}, which saving {shown} needs; give another path"
    elif shown.startswith("~"):
        told = f"{missing}: only a shell replaces the ~ of {shown}; give the path in full"
    else:
        told = f"{missing} to save {name} in; make it first"
    return in_a_sentence(OSError(errno.ENOENT, ""), told)


# --- the temporary file


def beside(path: AnyPath, purpose: str) -> str:
    """The path of a file of our own beside what a path names, for a purpose ("lock"): short, whatever the name is."""
    folder, name = os.path.split(resolved(path))
    return os.path.join(folder, f".dmc-{_digest(name)}.{purpose}")


def _name(target: str) -> str:
    return f".dmc-{_digest(os.path.basename(target))}-{_machine()}-{secrets.token_hex(8)}.part"


def _digest(name: str) -> str:
    return blake2b(os.fsencode(name), digest_size=8).hexdigest()


@cache
def _machine() -> str:
    """Names the machine as it has run since it was started, whatever containers call it."""
    try:
        told = Path("/proc/sys/kernel/random/boot_id").read_bytes()
    except OSError:
        told = platform.node().encode()
    return blake2b(told, digest_size=4).hexdigest()


def _claimed(temporary: str, shown: str, target: str, mode: int) -> BinaryIO | None:
    """A new file with a lock that lasts as long as its writer lives; None if somebody has taken it away already."""
    try:
        raw = open(temporary, "xb", buffering=0, opener=lambda name, _: os.open(name, _CREATE, mode))  # noqa: SIM115
    except FileExistsError:
        return None
    except FileNotFoundError:
        raise _no_folder(target, shown) from None
    except OSError as error:
        raise _worded(error, shown, os.path.dirname(target)) from None
    if _lock(raw.fileno()) is not False and os.path.lexists(temporary):
        return raw
    with raw, suppress(FileNotFoundError):
        os.unlink(temporary)
    return None


def _lock(descriptor: int) -> bool | None:
    """Whether a file is locked now, by this descriptor; None where there are no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return None
    return True


def remove_leftovers(folder: str | os.PathLike[str], name: str | None = None) -> None:
    """Remove the temporary files of writers that are no more: of one file in a folder, or of all.

    One whose writer may be alive stays: it is locked, or was changed on another machine during the last day.
    """
    begins = ".dmc-" if name is None else f".dmc-{_digest(name)}-"
    with suppress(OSError):
        for entry in [entry for entry in os.listdir(folder) if entry.startswith(begins)]:
            ours = TEMPORARY.fullmatch(entry)
            if ours is not None:
                _remove_if_left_over(os.path.join(folder, entry), ours["machine"])


def _remove_if_left_over(temporary: str, machine: str) -> None:
    with suppress(OSError):
        told = os.lstat(temporary)
        here = machine == _machine() or time.time() - told.st_mtime > DAY
        if stat.S_ISREG(told.st_mode) and here:
            _remove_unless_locked(temporary)


def _remove_unless_locked(temporary: str) -> None:
    if fcntl is None:
        os.unlink(temporary)
        return
    for access in (os.O_RDWR, os.O_RDONLY):  # the first for locks over NFS, the second for what is read-only already
        with suppress(PermissionError):
            descriptor = os.open(temporary, access | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                if _lock(descriptor):
                    os.unlink(temporary)
            finally:
                os.close(descriptor)
            return


# --- putting it in place


def _put(file: BinaryIO, raw: BinaryIO, temporary: str, target: str, old: os.stat_result | None, shown: str) -> None:
    old = replaceable(target, shown) or old  # others may have changed it meanwhile
    try:
        if not file.closed:
            file.flush()
        if old is not None and hasattr(os, "fchown"):
            _keep_access(raw.fileno(), target, old)
        _sync(raw.fileno())
        if fcntl is None:
            _close(raw, file)
        os.replace(temporary, target)
    except FileNotFoundError as error:
        if not os.path.isdir(os.path.dirname(target)):
            raise _no_folder(target, shown) from None
        told = f"somebody has removed the temporary file of {shown} while it was written; save it again"
        raise in_a_sentence(error, told) from None
    except OSError as error:
        raise _worded(error, shown) from None
    _sync_folder(os.path.dirname(target), shown)


def _keep_access(descriptor: int, target: str, old: os.stat_result) -> None:
    """Owner, group, access list and mode of the file that is replaced, as far as the system allows."""
    mode, new = stat.S_IMODE(old.st_mode), os.fstat(descriptor)
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        try:
            os.fchown(descriptor, old.st_uid, old.st_gid)
        except OSError:
            mode &= 0o777
            try:
                os.fchown(descriptor, -1, old.st_gid)
            except OSError:  # what that group may do, another may only if all may
                mode &= 0o707 | (mode & 0o007) << 3
    with suppress(OSError, AttributeError):
        os.setxattr(descriptor, _ACCESS_LIST, os.getxattr(target, _ACCESS_LIST))
    with suppress(OSError):  # of a file system without modes; ours is the owner's alone until here
        os.fchmod(descriptor, mode)


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF):  # where there is no such thing
            raise


def _sync_folder(folder: str, shown: str) -> None:
    if fcntl is None:
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:  # it may be written to, and not read
        return
    try:
        _sync(descriptor)
    except OSError as error:
        raise in_a_sentence(error, f"{shown} is in place, but the disk does not confirm it ({reason(error)})") from None
    finally:
        os.close(descriptor)


# --- what went wrong, in a sentence


def _worded(error: OSError, shown: str, folder: str | None = None) -> OSError:
    """The same error in a sentence with the path; `folder` is one in which no file could be made."""
    stays = "what was there stays"
    if error.errno in _FULL:
        return in_a_sentence(
            error, f"{_FULL[error.errno]}: {shown} is not written, and {stays}; make room, or give another path"
        )
    if folder is not None and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        where = f"the folder {readable(folder)} cannot be written to ({reason(error)})"
        return in_a_sentence(error, f"{where}, which saving {shown} needs; give another path")
    told = f"{shown} cannot be written ({reason(error)}), and {stays}; give another path"
    return in_a_sentence(error, told)


def reason(error: OSError) -> str:
    """What the system says of it: without a path, and to stand in brackets."""
    text = os.strerror(error.errno) if error.errno else str(error)
    return f"{text[:1].lower()}{text[1:]}"


def in_a_sentence(error: OSError, sentence: str) -> OSError:
    """An error of the same class and number whose text is the sentence alone."""
    told = type(error)(sentence)
    told.errno = error.errno
    return told
