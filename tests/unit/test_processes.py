"""Records of processes that a command left running."""

import sys
from pathlib import Path

import psutil
import pytest

from operations.sandbox.processes import BackgroundProcess, _has_ended, recorded_processes
from tests.waiting import within

ENDS_SLOWLY = """
import pathlib, signal, sys, time
def end(*_):
    time.sleep(0.5)
    pathlib.Path(sys.argv[1], "ended").touch()
    sys.exit()
signal.signal(signal.SIGTERM, end)
pathlib.Path(sys.argv[1], "ready").touch()
time.sleep(30)
"""


def test_a_process_that_shows_no_command_any_more_has_the_time_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def terminate(ending: psutil.Process) -> None:
        ending.send_signal(15)
        monkeypatch.setattr(psutil.Process, "cmdline", lambda _: [])

    process = BackgroundProcess("slow", (sys.executable, "-c", ENDS_SLOWLY, tmp_path), tmp_path)
    process.start()
    within(10, (tmp_path / "ready").exists)
    monkeypatch.setattr(psutil.Process, "terminate", terminate)
    assert process.stop()
    assert (tmp_path / "ended").exists()


def test_a_record_that_was_cut_off_is_of_a_process_that_does_not_run_and_goes_when_it_is_stopped(
    tmp_path: Path,
) -> None:
    record = tmp_path / "billing_service.json"
    record.write_text("")
    assert recorded_processes(tmp_path) == [BackgroundProcess("billing_service", (), tmp_path)]
    [process] = recorded_processes(tmp_path)
    assert not process.stop()
    assert not record.exists()


@pytest.mark.parametrize(("threads", "ended"), [(2, False), (1, True)])
def test_a_zombie_has_ended_when_its_last_thread_has(
    monkeypatch: pytest.MonkeyPatch, threads: int, ended: bool
) -> None:
    # Until then, it still listens: seen in 17 of 40 stops of a process with 20 threads, on a busy machine.
    monkeypatch.setattr(psutil.Process, "status", lambda _: psutil.STATUS_ZOMBIE)
    monkeypatch.setattr(psutil.Process, "num_threads", lambda _: threads)
    assert _has_ended(psutil.Process()) is ended
