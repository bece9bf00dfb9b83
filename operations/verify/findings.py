"""What a look at one area of a cluster says."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Finding:
    """One thing that is not as stated.

    Attributes:
        subject: the service, node or API.
        expected: what is stated.
        found: what is there.
        advice: what to do.
    """

    subject: str
    expected: str
    found: str
    advice: str


@dataclass(frozen=True)
class Verdict:
    """What is said of one area.

    Attributes:
        area: its name.
        summary: one line.
        findings: what is wrong.
        seen: False: nothing can be said of it, since an API does not answer.
    """

    area: str
    summary: str
    findings: Sequence[Finding] = field(default=())
    seen: bool = True

    @property
    def well(self) -> bool:
        """Whether all of it is as stated."""
        return self.seen and not self.findings


def unseen(area: str) -> Verdict:
    """Return the verdict on what no API shows."""
    return Verdict(area, "not seen: no answer", seen=False)
