"""Gets the programs `pulumi` and `consul`, and `actionlint` for the tests, onto a machine that has none."""

from functools import cache
from pathlib import Path

from toolchain.actionlint_program import ACTIONLINT
from toolchain.consul_program import CONSUL
from toolchain.find_program import ToolchainError, find
from toolchain.pulumi_program import PULUMI

__all__ = ["ToolchainError", "actionlint", "consul", "pulumi"]


@cache
def pulumi() -> Path:
    """Return the path of a `pulumi` that fits the SDK in this environment.

    Raises:
        ToolchainError: there is none, and no way led to one.
    """
    return find(PULUMI)


@cache
def consul() -> Path:
    """Return the path of a `consul` of the version that staging runs.

    Raises:
        ToolchainError: there is none, and no way led to one.
    """
    return find(CONSUL)


@cache
def actionlint() -> Path:
    """Return the path of the `actionlint` that the tests check the workflows with.

    Raises:
        ToolchainError: there is none, and no way led to one.
    """
    return find(ACTIONLINT)
