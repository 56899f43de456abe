"""Sentences of the library in the shell's words."""

import ast
import re
from pathlib import Path

import pytest

import dmc
from dmc.cli.wording import in_shell_words
from dmc.recommend.tables.table import REMEDIES

PACKAGE = Path(dmc.__file__).parent


@pytest.mark.parametrize(
    ("library", "shell"),
    [
        ("pass duplicates='last' or duplicates='mean'", "pass --duplicates last or --duplicates mean"),
        (
            "name the column, as in user='userId', or rename it",
            "rename it, or name the column in the fit, as in --user userId",
        ),
        (
            f"no file has no column 'rating', only 'x'; {REMEDIES['rating']}",
            "no file has no column 'rating', only 'x'; for clicks, pass --feedback implicit; for ratings, rename it, or"
            " name the column in the fit, as in --rating stars",
        ),
        (
            REMEDIES["timestamp"],
            "rename it, or name the column in the fit, as in --time when",
        ),
        ("no intervals; fit Recommender(intervals=True) to ratings", "no intervals; fit it with dmc fit --intervals"),
        ("there is no file a user='x", "there is no file a user='x"),
        ("pass missing_values=0", "pass --missing-values 0"),
        ("give a larger bound: rank=100", "give a larger bound: --rank 100"),
        ("or use loss='robust', which", "or use --robust, which"),
        ("or see complete(unknown=np.nan)", "or see --leave-unknown"),
        ("outside min_value and max_value, the", "outside --min and --max, the"),
        ("test_fraction is 2; it has", "--test-fraction is 2; it has"),
        ("there is no column 'min_value'", "there is no column 'min_value'"),
        ("such as the test part of dmc.evaluation.split", "such as the part that dmc evaluate --split holds out"),
        ("check the path, or make one with save", "check the path, or make one with dmc fit -o"),
    ],
)  # fmt: skip
def test_remedies_are_for_the_shell(library, shell):
    assert in_shell_words(ValueError(library)) == shell


# What the shell never meets: matrices in memory, tensors, frames, and what only a program in Python can hand over.
OUT_OF_REACH = (
    "X.collect()", "X.sum_duplicates()", "from_entries", "at(rows, cols)", "factors.to(", "A.toarray()", "shape=(",
    "only a model with feedback='implicit' needs none", "array.size", "call transform", "(shape=", "output='frame'",
)  # fmt: skip
PYTHON = re.compile(
    r"\b[a-z_]+=(?:'|\"|True|False|None|np\.|\d|\{)|\b[a-z_]+\([a-z_]*=|\b(?:rec|model|np)\.[a-z_]+\(|\bdmc\.[a-zE]"
)


def sentences():
    """Texts of the rooms whose errors and warnings reach the shell, as they read with something in each gap."""
    for folder in ("recommend", "completion", "report"):
        for path in sorted((PACKAGE / folder).glob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if not (isinstance(node, (ast.Raise, ast.Call)) and _tells(node)):
                    continue
                for part in ast.walk(node):
                    if isinstance(part, ast.JoinedStr):
                        yield path.name, "".join(v.value if isinstance(v, ast.Constant) else "7" for v in part.values)
                    elif isinstance(part, ast.Constant) and isinstance(part.value, str):
                        yield path.name, part.value


def _tells(node):
    if isinstance(node, ast.Raise):
        return True
    called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
    return called in ("warn", "tell")


def test_no_remedy_speaks_python_to_the_shell():
    found = list(sentences())
    assert len(found) > 200
    wrong = [
        (name, in_shell_words(text))
        for name, text in found
        if PYTHON.search(in_shell_words(text)) and not any(phrase in text for phrase in OUT_OF_REACH)
    ]
    assert wrong == []
