"""Records of processes that a command left running."""

from pathlib import Path

from operations.sandbox.processes import BackgroundProcess, recorded_processes


def test_a_record_that_was_cut_off_is_of_a_process_that_does_not_run_and_goes_when_it_is_stopped(
    tmp_path: Path,
) -> None:
    record = tmp_path / "billing_service.json"
    record.write_text("")
    assert recorded_processes(tmp_path) == [BackgroundProcess("billing_service", (), tmp_path)]
    [process] = recorded_processes(tmp_path)
    assert not process.stop()
    assert not record.exists()
