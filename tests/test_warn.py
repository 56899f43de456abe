"""A warning names the line of the caller, however deep in the library it was raised."""

from collections.abc import Callable

import pytest

from dmc._warn import warn


def within(module: str, call: Callable[[], None]) -> Callable[[], None]:
    """The call, made by a function of a module of that name."""
    return eval("lambda: call()", {"__name__": module, "call": call})


@pytest.mark.parametrize("modules", [["dmc.a"], ["dmc.solver.loop", "sklearn.base", "joblib.parallel", "dmc.b"]])
def test_the_line_outside_is_named(modules):
    call = eval("lambda: warn('told', RuntimeWarning)", {"__name__": "dmc.deep", "warn": warn})
    for module in modules:
        call = within(module, call)
    with pytest.warns(RuntimeWarning, match="told") as caught:
        call()
    assert [warning.filename for warning in caught] == [__file__]
