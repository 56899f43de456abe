"""The model file: safetensors with a JSON header; no pickle, versioned, and checked when read."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FORMAT = "dmc"
VERSION = 4  # of recommenders: 3 names the model, and keeps networks as such; 4 may go without ratings


def save(
    path: str | os.PathLike[str], kind: str, arrays: Mapping[str, NDArray[Any]], header: Mapping[str, Any]
) -> None:
    """Write arrays and a header; the file appears whole or not at all.

    Parameters
    ----------
    path : path
    kind : str
        What the file holds, such as "Recommender".
    arrays : mapping of str to array
        Numbers of any shape, or one-dimensional text.
    header : mapping
        What JSON can hold.
    """
    from safetensors.numpy import save as serialise

    tensors: dict[str, NDArray[Any]] = {}
    for name, array in arrays.items():
        if array.dtype.kind == "U":  # text as UTF-8 bytes, and where each piece ends
            pieces = [piece.encode("utf-8", "surrogateescape") for piece in array.tolist()]
            tensors[f"{name}.text"] = np.frombuffer(b"".join(pieces), np.uint8)
            tensors[f"{name}.ends"] = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
        else:
            tensors[name] = np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C")
    metadata = {"format": FORMAT, "version": str(VERSION), "kind": kind, "header": json.dumps(header)}
    metadata["checksum"] = str(_checksum(tensors, metadata))
    path = Path(path).resolve()  # a link stays one, to the new file
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the path of a file")
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is a device or a pipe, which a model would replace; give the path of a file")
    temporary = path.with_name(path.name + ".part")
    try:
        temporary.write_bytes(serialise(tensors, metadata))
        os.replace(temporary, path)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no folder {path.parent} to save {path.name} in; make it first") from None
    finally:
        temporary.unlink(missing_ok=True)


def load(
    path: str | os.PathLike[str], kind: str, *, mmap: bool = False
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read arrays and header back.

    Parameters
    ----------
    path : path
    kind : str
        What the file has to hold.
    mmap : bool
        Map the arrays from the file, read-only, and leave their checksum unread.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not a model of dmc, is damaged, holds another kind, or was written by a newer version.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no model file {path}; check the path, or make one with save")
    try:
        with safe_open(str(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            if mmap:
                tensors, metadata = _mapped(path)
            else:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{path} is not a model file, or is damaged ({error}); save the model again") from None
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} was not written by dmc; give a file that save or `dmc fit -o` wrote")
    version = metadata.get("version", "")
    if not version.isdecimal() or int(version) > VERSION:
        raise ValueError(f"{path} has format version {version} and this dmc reads up to {VERSION}; install a newer dmc")
    if not mmap and metadata.get("checksum") != str(_checksum(tensors, metadata)):
        raise ValueError(f"{path} is damaged: its contents do not match their checksum; save the model again")
    if metadata["kind"] != kind:
        raise ValueError(f"{path} holds a {metadata['kind']}, not a {kind}; load it with dmc.{metadata['kind']}")
    arrays = {name: array for name, array in tensors.items() if not name.endswith((".text", ".ends"))}
    for name in [name.removesuffix(".text") for name in tensors if name.endswith(".text")]:
        whole, ends = tensors[f"{name}.text"].tobytes(), tensors[f"{name}.ends"].tolist()
        pieces = [whole[a:b].decode("utf-8", "surrogateescape") for a, b in zip([0, *ends], ends, strict=False)]
        arrays[name] = np.asarray(pieces, dtype=str)
    return arrays, json.loads(metadata["header"])


def _mapped(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Arrays and metadata of a safetensors file, whose layout is: length of the header, header, numbers in a row.

    Both through one handle: another file may be put in its place meanwhile.
    """
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        whole = np.memmap(file, np.uint8, "r", offset=8 + length)
    kinds = {"F32": "f4", "F64": "f8", "I32": "i4", "I64": "i8", "U8": "u1", "BOOL": "?"}
    metadata = header.pop("__metadata__", {})
    return {
        name: np.asarray(whole[slice(*of["data_offsets"])]).view(kinds[of["dtype"]]).reshape(of["shape"])
        for name, of in header.items()
    }, metadata


def _checksum(tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> int:
    crc = 0
    for key in ("format", "version", "kind", "header"):
        crc = zlib.crc32(metadata.get(key, "").encode(), crc)
    for name in sorted(tensors):
        crc = zlib.crc32(f"{name} {tensors[name].dtype} {tensors[name].shape}".encode(), crc)
        crc = zlib.crc32(tensors[name].tobytes(), crc)
    return crc
