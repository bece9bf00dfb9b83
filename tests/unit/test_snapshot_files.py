from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from operations.snapshot.snapshot_files import SnapshotError, SnapshotFile, snapshots_of


@pytest.fixture
def saved(tmp_path: Path) -> SnapshotFile:
    file = SnapshotFile(tmp_path / "staging-20261128T020000Z.snap")
    file.path.write_bytes(b"what the servers hold")
    file.write_checksum()
    return file


def test_a_new_snapshot_is_named_after_its_stack_and_the_time(tmp_path: Path) -> None:
    file = SnapshotFile.new(tmp_path, "docker-local")
    assert file.path.name.startswith(f"docker-local-{datetime.now(UTC):%Y%m%d}T")
    assert file.age < timedelta(seconds=5)


def test_a_copy_has_the_age_of_its_name(saved: SnapshotFile) -> None:
    assert saved.age > datetime.now(UTC) - datetime(2026, 11, 28, 2, 0, 1, tzinfo=UTC)


def test_a_file_of_another_name_has_the_age_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "backup.snap").write_bytes(b"")
    assert SnapshotFile(tmp_path / "backup.snap").age < timedelta(seconds=5)


def test_a_file_that_is_as_it_was_saved_is_accepted(saved: SnapshotFile) -> None:
    saved.verify()
    assert (saved.path.parent / f"{saved.path.name}.sha256").read_text() == (
        f"{saved.checksum}  staging-20261128T020000Z.snap\n"  # as sha256sum writes it
    )


def test_a_file_whose_checksum_was_cut_off_is_refused(saved: SnapshotFile) -> None:
    saved.path.with_name(f"{saved.path.name}.sha256").write_text("")
    with pytest.raises(SnapshotError, match="has another checksum"):
        saved.verify()


def test_a_file_that_was_changed_is_refused(saved: SnapshotFile) -> None:
    saved.path.write_bytes(b"something else")
    with pytest.raises(SnapshotError, match="is not as it was saved"):
        saved.verify()


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="there is no such file"):
        SnapshotFile(tmp_path / "none.snap").verify()


def test_the_snapshots_of_a_stack_are_its_own_the_newest_first(saved: SnapshotFile) -> None:
    folder = saved.path.parent
    for name in ("staging-20261130T020000Z.snap", "staging-2-20261129T020000Z.snap", "staging.snap"):
        (folder / name).write_bytes(b"")
    found = [each.path.name for each in snapshots_of(folder, "staging")]
    assert found == ["staging-20261130T020000Z.snap", "staging-20261128T020000Z.snap"]


def test_a_removed_snapshot_leaves_no_checksum(saved: SnapshotFile) -> None:
    saved.remove()
    assert list(saved.path.parent.iterdir()) == []
