"""`snapshot` on a real Consul: what the servers held is saved, shown, and put back."""

from pathlib import Path

import urllib3

from tests.local.clones import Clone


def snapshot(clone: Clone, *arguments: str) -> tuple[int, str]:
    done = clone.run("snapshot", *arguments)
    return done.returncode, done.stdout + done.stderr


def saved(clone: Clone, folder: Path, *options: str) -> Path:
    code, said = snapshot(clone, "save", "--folder", str(folder), *options)
    assert code == 0, said
    return max(folder.glob("local-*.snap"))


def value(clone: Clone) -> int:
    return urllib3.request("GET", f"{clone.server.address}/v1/kv/billing_service/max_retries").status


def test_what_was_written_after_the_snapshot_is_gone_after_its_restore(clone: Clone, tmp_path: Path) -> None:
    file = saved(clone, tmp_path)
    urllib3.request("PUT", f"{clone.server.address}/v1/kv/billing_service/max_retries", body="3")
    assert value(clone) == 200
    code, said = snapshot(clone, "restore", str(file))
    assert (code, value(clone)) == (0, 404), said
    assert clone.run("verify", "--wait", "30s").returncode == 0


def test_a_snapshot_is_for_its_owner_alone_and_is_shown_with_age_checksum_and_content(
    clone: Clone, tmp_path: Path
) -> None:
    file = saved(clone, tmp_path / "new")
    assert [each.stat().st_mode & 0o077 for each in (file, file.parent)] == [0, 0]
    code, said = snapshot(clone, "inspect", str(file))
    assert code == 0
    assert "0.0 h old, SHA-256 " in said
    assert " Index " in said


def test_a_snapshot_that_was_changed_is_not_restored(clone: Clone, tmp_path: Path) -> None:
    file = saved(clone, tmp_path)
    file.write_bytes(file.read_bytes()[:-1])
    code, said = snapshot(clone, "restore", str(file))
    assert (code, "is not as it was saved" in said) == (2, True)


def test_the_newest_snapshots_are_kept(clone: Clone, tmp_path: Path) -> None:
    old = tmp_path / "local-20260101T000000Z.snap"
    old.write_bytes(b"")
    new = saved(clone, tmp_path, "--keep", "1")
    assert list(tmp_path.glob("*.snap")) == [new]
