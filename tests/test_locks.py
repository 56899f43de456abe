"""Locks across a fork, and cached values under threads."""

import os
import threading
import time
import warnings

import pytest

from dmc import _locks
from dmc.recommend.state import Lazy

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


def in_fork(work) -> int:
    """The exit status of a forked process that does the work; 9 if it is still at it after five seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads, which is what is tried here
        child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    for _ in range(500):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return 9


@needs_fork
def test_a_forked_process_finds_locks_open():
    made = _locks.lock()
    with made:
        assert in_fork(lambda: made.acquire(timeout=3) or os._exit(2)) == 0
        assert not made.acquire(blocking=False)  # here it is held as before


@needs_fork
def test_what_is_being_made_in_the_parent_is_made_in_a_forked_process_as_well():
    begun, go_on = threading.Event(), threading.Event()

    def make():
        begun.set()
        go_on.wait(20)
        return 7

    lazy = Lazy(make)
    asking = threading.Thread(target=lazy)
    asking.start()
    begun.wait()

    def ask():
        go_on.set()
        assert lazy() == 7

    assert in_fork(ask) == 0
    go_on.set()
    asking.join()
    assert lazy() == 7


class Slow:
    def __init__(self):
        self.begun, self.go_on, self.made = threading.Event(), threading.Event(), 0

    @_locks.cached_property
    def value(self):
        self.made += 1
        self.begun.set()
        self.go_on.wait(20)
        return [self.made]


@needs_fork
def test_a_cached_property_holds_up_neither_other_objects_nor_forked_processes():
    one, other = Slow(), Slow()
    other.go_on.set()
    asking = threading.Thread(target=lambda: one.value)
    asking.start()
    one.begun.wait()
    assert other.value == [1]

    def ask():
        one.go_on.set()
        assert one.value == [2]

    assert in_fork(ask) == 0
    one.go_on.set()
    asking.join()
    assert one.value == [1]


def test_threads_that_ask_first_get_one_and_the_same_value():
    one, found = Slow(), []
    threads = [threading.Thread(target=lambda: found.append(one.value)) for _ in range(4)]
    for thread in threads:
        thread.start()
    one.begun.wait()
    one.go_on.set()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len({id(value) for value in found}) == 1
    assert isinstance(Slow.value, _locks.cached_property)


def test_a_value_made_of_the_base_class_s_is_kept_as_it_is():
    class Base:
        @_locks.cached_property
        def value(self):
            return 1

    class More(Base):
        @_locks.cached_property
        def value(self):
            return super().value + 1

    more = More()
    assert (more.value, more.value, Base().value) == (2, 2, 1)
