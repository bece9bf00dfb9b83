"""A service as somebody else has stated it: what the readers of files and of the catalog return."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class FoundCheck:
    """One check.

    Attributes:
        fields: in a definition file's spelling. A span, such as `10s`, is a text.
        unexpressed: what the roster has no words for, a line each.
    """

    fields: Mapping[str, Any]
    unexpressed: tuple[str, ...] = ()


@dataclass(frozen=True)
class FoundService:
    """One service.

    Attributes:
        fields: in a definition file's spelling, without its checks.
        checks: of it.
        unexpressed: what the roster has no words for, a line each.
    """

    fields: Mapping[str, Any]
    checks: tuple[FoundCheck, ...] = ()
    unexpressed: tuple[str, ...] = ()
