"""Ctrl-C and closed pipes: whose handlers stand where."""

import signal

import pytest

from dmc.cli import interrupts


@pytest.fixture
def handler():
    """Ctrl-C as it is in a program of its own."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


def test_it_ends_quietly_but_where_something_has_to_be_saved(handler):
    before = signal.getsignal(signal.SIGPIPE)
    with interrupts.quiet_endings():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGPIPE) is signal.SIG_DFL
        with interrupts.told_of_interrupts(), pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGPIPE) is before


def test_sections_may_lie_in_one_another(handler):
    with interrupts.quiet_endings(), interrupts.told_of_interrupts():
        with interrupts.told_of_interrupts():
            pass
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_ignored_interrupt_stays_ignored(handler):
    """As under nohup, or behind & in a script."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with interrupts.quiet_endings(), interrupts.told_of_interrupts():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
