"""The examples that put vectors into an index find the lists of `recommend` there."""

from __future__ import annotations

import pytest

from example_scripts import example


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of SWIG's types
@pytest.mark.parametrize(("package", "share"), [("faiss", 1.0), ("hnswlib", 0.99)])
def test_lists_out_of_an_index(package, share, tmp_path):
    pytest.importorskip(package, reason=f"{package} is not installed here; `make integrations` runs this with it")
    assert example(f"index_{package}").main(str(tmp_path)) >= share
