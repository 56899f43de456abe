"""An error of one process is all processes' error, and told once."""

import pickle
from typing import Any

import pytest

from dmc._group import ALONE, Group
from dmc.distributed.agreement import KINDS, ElsewhereError, agreed, everyone
from dmc.distributed.group import LostProcess
from processes import run_processes

ERRORS: dict[str, Exception] = {
    "value": ValueError("rank is 0"),
    "type": TypeError("rank is 'x'"),
    "missing file": FileNotFoundError("there is no file"),
    "disk": OSError(28, "No space left on device"),
    "memory": MemoryError("60 GiB"),
    "import": ImportError("no torch"),
    "key": KeyError("user"),
}


def failing(group: Group) -> list[Any]:
    """What this process meets where all, the last, the first or none has an error."""
    told: list[Any] = []
    for error in ERRORS.values():
        for fails in ([0, 1, 2], [2], [0], []):
            try:
                with agreed(group):
                    if group.rank in fails:
                        raise error
                told.append(None)
            except Exception as met:
                told.append((isinstance(met, ElsewhereError), isinstance(met, type(error)), str(met), met is error))
    return [*told, everyone(group, {"rank": group.rank, "é": [group.size]})]


def test_all_fail_and_one_tells() -> None:
    found = run_processes(3, failing)
    for i, error in enumerate(ERRORS.values()):
        known = not isinstance(error, KeyError)
        loud, quiet = (False, True, str(error), True), (True, known, str(error), False)
        for case, first in enumerate((0, 2, 0)):
            assert [told[4 * i + case] for told in found] == [loud if rank == first else quiet for rank in range(3)]
        assert [told[4 * i + 3] for told in found] == [None] * 3
    assert all(told[-1] == [{"rank": rank, "é": [3]} for rank in range(3)] for told in found)


def nested(group: Group) -> str:
    try:
        with agreed(group), agreed(group):
            if group.rank == 1:
                raise ValueError("once")
    except ValueError as error:
        return type(error).__name__
    return "nothing"


def test_an_error_that_was_agreed_on_stays_as_it_is() -> None:
    assert run_processes(2, nested) == ["ElsewhereValueError", "ValueError"]


@pytest.mark.parametrize(
    "error", [*ERRORS.values(), LostProcess("gone"), KeyboardInterrupt()], ids=lambda e: type(e).__name__
)
def test_a_process_alone_raises_its_own(error: BaseException) -> None:
    with pytest.raises(type(error)) as met, agreed(ALONE):
        raise error
    assert met.value is error


def silent(*_: Any) -> Any:
    raise AssertionError("others were asked")


def test_a_lost_process_is_not_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    group = Group()
    monkeypatch.setattr(group, "gather", silent)
    with pytest.raises(LostProcess, match="gone"), agreed(group):
        raise LostProcess("gone")


def lost(*_: Any) -> Any:
    raise LostProcess("gone")


def test_an_error_is_told_even_where_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    group = Group()
    monkeypatch.setattr(group, "gather", lost)
    with pytest.raises(ValueError, match="rank is 0"), agreed(group):
        raise ValueError("rank is 0")
    with pytest.raises(LostProcess, match="gone"), agreed(group):
        pass


def test_errors_of_others_travel() -> None:
    for _, quiet in KINDS:
        error = pickle.loads(pickle.dumps(quiet("why")))
        assert type(error) is quiet
        assert str(error) == "why"
