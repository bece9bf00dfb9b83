"""Records of processes that a command left running."""

import sys
from pathlib import Path

import psutil
import pytest

from operations.sandbox.processes import BackgroundProcess, recorded_processes
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
