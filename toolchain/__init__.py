"""Gets the programs `pulumi` and `consul`, and `actionlint` for the tests, onto a machine that has none.

Each function returns the program's path, and raises a ToolchainError where no way leads to one.
"""

from functools import cache, partial

from toolchain.actionlint_program import ACTIONLINT
from toolchain.consul_program import CONSUL
from toolchain.find_program import ToolchainError, find
from toolchain.pulumi_program import PULUMI

__all__ = ["ToolchainError", "actionlint", "consul", "pulumi"]

pulumi = cache(partial(find, PULUMI))
"""A `pulumi` that fits the SDK in this environment."""

consul = cache(partial(find, CONSUL))
"""A `consul` of the version that staging runs."""

actionlint = cache(partial(find, ACTIONLINT))
"""The `actionlint` that the tests check the workflows with."""
