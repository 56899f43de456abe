"""Titles from files such as those of MovieLens; ids where there is none; what is wrong with a file is said."""

import numpy as np
import pytest

from dmc.recommend.tables.vocabulary import Vocabulary
from dmc.report import titles

NUMBERS = Vocabulary(np.array([1, 2, 7]))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("u.item", "1|Toy Story, or so (1995)|01-Jan-1995||x\n7|Il Postino; a film|02|\n99|not rated\n"),
        ("movies.dat", "1::Toy Story, or so (1995)::Animation|Comedy\n7::Il Postino; a film::Drama\n"),
        (
            "movies.csv",
            'movieId,title,genres\n1,"Toy Story, or so (1995)",Animation|Comedy\n\n7,Il Postino; a film,Drama\n',
        ),
        ("tabs", "\n1\tToy Story, or so (1995)\n7\tIl Postino; a film\r\n"),
    ],
)
def test_titles_in_the_formats_there_are(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    assert titles.names(NUMBERS, tmp_path / name).tolist() == ["Toy Story, or so (1995)", "2", "Il Postino; a film"]


def test_without_a_file_items_are_called_by_their_ids():
    assert titles.names(NUMBERS).tolist() == ["1", "2", "7"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_either_encoding(encoding, tmp_path):
    (tmp_path / "t").write_bytes("é|Amélie\n".encode(encoding))
    id = "é".encode(encoding.removesuffix("-sig")).decode("utf-8", "surrogateescape")
    assert titles.names(Vocabulary(np.array([id])), tmp_path / "t").tolist() == ["Amélie"]


def test_what_cannot_be_printed_becomes_a_space():
    assert titles.readable("a\x00b\x1b[31m\u202ec") == "a b [31m c"
    assert titles.readable(b"Ren\xe9".decode("utf-8", "surrogateescape")) == "René"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no titles"),
        ("one\ntwo\n", "holds no titles; give an item's id and its title in each line"),
        ("1|a\n2\n", "line 2 of .*t has no title"),
        ("x|a\ny|b\n", "has a title for none of the model's items, such as '1'; its first field has to be the item's"),
    ],
)
def test_a_file_of_something_else_is_refused(text, message, tmp_path):
    (tmp_path / "t").write_text(text)
    with pytest.raises(ValueError, match=message):
        titles.names(NUMBERS, tmp_path / "t")


def test_a_path_that_is_none(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*nope; check the path"):
        titles.names(NUMBERS, tmp_path / "nope")
    with pytest.raises(IsADirectoryError, match="is a folder; give a file of item ids and titles"):
        titles.names(NUMBERS, tmp_path)


def test_real_titles(data_folder):
    found = titles.names(Vocabulary(np.arange(1, 1683)), data_folder / "ml-100k" / "u.item")
    assert found[0] == "Toy Story (1995)"
    assert "Misérables, Les (1995)" in found  # Latin-1
    assert not set(found) & set(map(str, range(1683)))
