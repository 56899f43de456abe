"""Parquet files and folders, of which each process reads its share of the rows, some at a time."""

from __future__ import annotations

import glob
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain
from pathlib import Path
from typing import Any, NamedTuple

from dmc._group import Group
from dmc.distributed.agreement import agreed, everyone
from dmc.distributed.arrow import NOTHING, kind_of, parquet
from dmc.distributed.rows import PLACE
from dmc.recommend.fitting import RATING, Columns
from dmc.recommend.tables.parquet import files_in, refuse_loss, refuse_streams, words_for_failure
from dmc.recommend.tables.text_source import called, listed

ROWS = 1 << 18  # read at a time
BUFFER = 1 << 20  # bytes of a column that are read ahead in row groups of more than
LARGE = 1 << 26  # bytes: columns of smaller ones are read at once; Arrow's buffered reader may not end in damaged files

Source = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


class Footer(NamedTuple):
    """What a file says of itself."""

    path: str
    rows: list[int]  # in each of its row groups
    names: list[str]
    kinds: dict[str, str]  # what the columns asked for hold


class Piece(NamedTuple):
    """A row group."""

    path: str
    group: int
    first: int  # row of the file
    size: int  # rows


def batches(paths: Source, columns: Columns, group: Group) -> Iterator[Any]:
    """This process' share of the rows of Parquet files, some at a time, as Arrow record batches.

    Each process reads neighbouring row groups, about as many rows as the others; so the rows of the first process
    stand before those of the second. What is wrong with a file is told before the first batch, but for damage that
    only reading finds. The call is collective; taking the batches is not.

    Parameters
    ----------
    paths : path or sequence of paths
        Files, or folders with files \\*.parquet or \\*.pq at any depth, without those called ".…" or "_…"; or patterns
        of such names.
    columns : Columns
        What is read. A rating of that very name may be missing everywhere.
    group : Group

    Raises
    ------
    FileNotFoundError, ValueError
        In all processes: if a file or folder is not there, a folder holds no Parquet, a file cannot be understood, the
        processes see different files, or files differ in what their columns hold.
    """
    with agreed(group):
        files = _listed(paths)
    _compare_listings(files, group)
    with agreed(group):
        own = [_footer(path, columns) for path in files[group.share(len(files))]]
    footers = [Footer(*one) for one in chain.from_iterable(everyone(group, own))]
    with agreed(group):
        _refuse_differences(footers, columns)
    filled = [footer for footer in footers if sum(footer.rows)]
    names = [name for name in columns.asked() if filled and name in filled[0].names]
    return _read(_share(filled, group), names)


def _listed(paths: Source) -> list[Path]:
    given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    if not given:
        raise ValueError("there is no path of data; give a Parquet file or a folder of such files")
    return [file for one in given for file in _files_of(Path(one))]


def _files_of(path: Path) -> list[Path]:
    if path.is_dir():
        found = files_in(path)
        if not found:
            raise FileNotFoundError(f"the folder {called(path)} holds no Parquet file (*.parquet); check the path")
        return found
    if not path.exists():  # a name may hold a bracket
        matching = sorted(glob.glob(str(path)))
        if matching:
            return [file for one in matching for file in _files_of(Path(one))]
        raise FileNotFoundError(
            f"there is no file or folder {called(path)}; check the path, which all processes have to see"
        )
    return [path]


def _compare_listings(files: Sequence[Path], group: Group) -> None:
    """Raise in all processes if one of them sees other files than the first."""
    with agreed(group):
        listing = [[str(path), path.stat().st_size] for path in files]
    digest = hashlib.sha256(json.dumps(listing).encode()).hexdigest()
    told = everyone(group, [digest, len(files)])
    with agreed(group):
        for rank, (other, count) in enumerate(told):
            if other != told[0][0]:
                seen = f"{count:,} in place of {told[0][1]:,}" if count != told[0][1] else f"{count:,} too, but others"
                raise ValueError(
                    f"process {rank} finds other Parquet files than process 0 ({seen}); give all processes the same "
                    "files, as on a file system that they share"
                )


def _footer(path: Path, columns: Columns) -> Footer:
    refuse_streams(path)
    with words_for_failure(path), parquet.ParquetFile(path, pre_buffer=False) as file:
        schema, told = file.schema_arrow, file.metadata
        rows = [told.row_group(i).num_rows for i in range(told.num_row_groups)]
        kinds = {
            name: kind_of(schema.field(name).type, name in (columns.rating, columns.weight))
            for name in columns.asked()
            if schema.names.count(name) == 1
        }
        return Footer(str(path), rows, schema.names, kinds)


def _refuse_differences(footers: Sequence[Footer], columns: Columns) -> None:
    """Raise if files with rows lack a column, have it twice, or hold other things in it than others do."""
    filled = [footer for footer in footers if sum(footer.rows)]
    for name in columns.asked():
        for footer in filled:
            if footer.names.count(name) > 1:
                raise ValueError(
                    f"{footer.path} has {footer.names.count(name)} columns named {name!r}; rename all but one"
                )
        having = [footer for footer in filled if name in footer.kinds]
        lacking = [footer for footer in filled if name not in footer.kinds]
        if lacking and (having or name != RATING or columns.rating != RATING):
            raise ValueError(_what_lacks(name, lacking[0], having))
        told = [footer for footer in having if footer.kinds[name] != NOTHING]
        other = next((footer for footer in told if footer.kinds[name] != told[0].kinds[name]), None)
        if other is not None:
            raise ValueError(
                f"column {name!r} holds {told[0].kinds[name]} in {told[0].path} and {other.kinds[name]} in "
                f"{other.path}; write all files with one type"
            )


def _what_lacks(name: str, lacking: Footer, having: Sequence[Footer]) -> str:
    if having:
        return (
            f"{lacking.path} has no column {name!r}, which {having[0].path} has; write all files with the same columns"
        )
    names = listed(lacking.names)
    return f"{lacking.path} has no column {name!r}, only {names}; name the column, as in user='userId', or rename it"


def _share(footers: Sequence[Footer], group: Group) -> list[Piece]:
    """The row groups of this process: those whose middle lies in its share of all rows."""
    total, before, own = sum(sum(footer.rows) for footer in footers), 0, []
    for footer in footers:
        for i, (count, first) in enumerate(zip(footer.rows, accumulate(footer.rows, initial=0), strict=False)):
            if count and (2 * before + count) * group.size // (2 * total) == group.rank:
                own.append(Piece(footer.path, i, first, count))
            before += count
    return own


def _read(pieces: Sequence[Piece], names: Sequence[str]) -> Iterator[Any]:
    for piece in pieces:
        row = piece.first
        path = Path(piece.path)
        with words_for_failure(path), _opened(path, piece.group) as file:
            for batch in file.iter_batches(ROWS, [piece.group], list(names)):
                yield batch.replace_schema_metadata({PLACE: json.dumps([piece.path, row])})
                row += batch.num_rows
            refuse_loss(row - piece.first, piece.size)


def _opened(path: Path, group: int) -> Any:
    """A file of which one row group is to be read."""
    file = parquet.ParquetFile(path, pre_buffer=False, page_checksum_verification=True)
    # Not the sizes of its columns: where these are damaged, asking pyarrow for them ends the process.
    if min(file.metadata.row_group(group).total_byte_size, path.stat().st_size) <= LARGE:
        return file
    file.close()
    return parquet.ParquetFile(path, pre_buffer=False, page_checksum_verification=True, buffer_size=BUFFER)
