"""The files of snapshots: their names, ages and checksums."""

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from errors import UserError

_TIME = "%Y%m%dT%H%M%SZ"
_NAME = re.compile(r"(?P<stack>.+)-(?P<time>\d{8}T\d{6}Z)\.snap")


class SnapshotError(UserError):
    """There is no such snapshot, or it is not as it was saved."""


@dataclass(frozen=True)
class SnapshotFile:
    """A snapshot of a stack's Consul, with its checksum beside it.

    Attributes:
        path: of the file.
    """

    path: Path

    @classmethod
    def new(cls, folder: Path, stack: str) -> "SnapshotFile":
        """Return the file of a snapshot that is saved now."""
        return cls(folder / f"{stack}-{datetime.now(UTC).strftime(_TIME)}.snap")

    @property
    def age(self) -> timedelta:
        """Since when it is there: by its name, which a copy keeps, else by the time of the file."""
        found = _NAME.fullmatch(self.path.name)
        saved = (
            datetime.strptime(found["time"], _TIME).replace(tzinfo=UTC)
            if found
            else datetime.fromtimestamp(self.path.stat().st_mtime, UTC)
        )
        return datetime.now(UTC) - saved

    @property
    def checksum(self) -> str:
        """The SHA-256 of its content."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    def write_checksum(self) -> None:
        """Keep the checksum beside the file, in the form that `sha256sum --check` reads."""
        self._checksum_path.write_text(f"{self.checksum}  {self.path.name}\n")

    def verify(self) -> None:
        """Check that the file is as it was saved, as far as its checksum was kept.

        Raises:
            SnapshotError: there is no such file, or it has another checksum.
        """
        if not self.path.is_file():
            raise SnapshotError(f"{self.path}: there is no such file")
        if self._checksum_path.is_file() and self._checksum_path.read_text().partition(" ")[0] != self.checksum:
            raise SnapshotError(f"{self.path}: is not as it was saved: {self._checksum_path.name} has another checksum")

    def remove(self) -> None:
        """Remove the file and its checksum."""
        self.path.unlink()
        self._checksum_path.unlink(missing_ok=True)

    @property
    def _checksum_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.sha256")


def snapshots_of(folder: Path, stack: str) -> list[SnapshotFile]:
    """Return the snapshots of a stack in a folder, the newest first."""
    names = [found for found in map(_NAME.fullmatch, (path.name for path in folder.glob("*.snap"))) if found]
    return [
        SnapshotFile(folder / each[0])
        for each in sorted(names, key=lambda each: each["time"], reverse=True)
        if each["stack"] == stack
    ]
