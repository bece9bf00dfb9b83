"""A signal ends a block or a loop, whatever the process is at."""

import io
import os
import signal
import time
from collections.abc import Iterator

import pytest

from operations.signals import TooLongError, interrupting, limited, until_interrupted


@pytest.fixture(autouse=True)
def _handler() -> Iterator[None]:
    """A shell that starts the tests in the background has them ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def ticks(count: int = 200) -> Iterator[int]:
    """Go on for two seconds, unless the loop ends before."""
    for number in range(count):
        yield number
        time.sleep(0.01)


class PressesWhenFinalized(io.IOBase):
    def close(self) -> None:
        if not self.closed:
            press()
        super().close()


def test_it_yields_what_the_source_gives_and_ends_with_it() -> None:
    assert list(until_interrupted(ticks(3))) == [0, 1, 2]


def test_what_the_source_raises_is_raised() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        list(until_interrupted(failing()))


def test_ctrl_c_ends_it_without_an_exception() -> None:
    seen = []
    for number in until_interrupted(ticks()):
        seen.append(number)
        if number == 1:
            press()
    assert len(seen) < 100


def test_ctrl_c_that_is_pressed_while_python_finalizes_a_file_ends_it_too() -> None:
    seen = []
    for number in until_interrupted(ticks()):
        seen.append(number)
        if number == 1:
            PressesWhenFinalized()
    assert len(seen) < 100


def test_ctrl_c_ends_it_while_the_source_has_nothing_to_give() -> None:
    def silent() -> Iterator[int]:
        yield 0
        time.sleep(60)

    started = time.monotonic()
    for _ in until_interrupted(silent()):
        press()
    assert time.monotonic() - started < 5


def test_a_second_ctrl_c_is_a_keyboard_interrupt() -> None:
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - it is raised by whatever runs
        for _ in until_interrupted(ticks()):
            press()
            time.sleep(0.01)
            press()
            time.sleep(0.01)


def test_afterwards_ctrl_c_is_what_it_was() -> None:
    before = signal.getsignal(signal.SIGINT)
    list(until_interrupted(ticks(1)))
    assert signal.getsignal(signal.SIGINT) is before


def test_a_signal_that_was_lost_while_python_finalized_a_file_ends_the_next_sleep() -> None:
    with pytest.raises(KeyboardInterrupt), interrupting() as sleep:  # noqa: PT012 - where it is raised is the point
        PressesWhenFinalized()
        slept = False
        sleep(0.01)
        slept = True
    assert not slept


def test_a_block_that_took_too_long_while_python_finalized_a_file_is_cut_the_next_time() -> None:
    class TakesLongWhenFinalized(io.IOBase):
        def close(self) -> None:
            time.sleep(0.2)

    started = time.monotonic()
    with pytest.raises(TooLongError), limited(0.1):  # noqa: PT012 - as above
        TakesLongWhenFinalized()
        time.sleep(10)
    assert time.monotonic() - started < 5


def test_a_signal_that_comes_while_python_runs_a_finalizer_prints_no_stack_trace(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Finalized:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt), interrupting() as sleep:  # noqa: PT012 - where it is raised is the point
        Finalized()
        sleep(0)
    assert "Traceback" not in capsys.readouterr().err
