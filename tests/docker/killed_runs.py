"""Runs of `up` that replace the agent, and are killed on the way."""

import itertools
from dataclasses import replace

import pytest

from operations.pulumi_engine import EngineError
from operations.stack import Stack
from tests.docker.conftest import another_agent_config, docker
from tests.killing import kill_engine
from tests.waiting import within

_intervals = itertools.count(6)


def change_the_agent(patch: pytest.MonkeyPatch) -> None:
    """Have the program state something that replaces the agent's container."""
    patch.setattr("components.consul_agent.agent_config", another_agent_config(f"{next(_intervals)}s"))


def exists(container: str | None) -> bool:
    return container is None or bool(docker("ps", "--all", "--quiet", "--filter", f"name=^{container}$"))


def killed_at(step: str, container: str | None, stack: Stack) -> None:
    """Run an `up`, and kill its engine after a step."""
    seen: list[str] = []
    lines: list[str] = []

    def print_line(line: str) -> None:
        lines.append(line)
        if step in line and not seen:
            seen.append(line)
            within(10, lambda: exists(container))
            kill_engine()

    with pytest.raises(EngineError):
        replace(stack.engine, print_line=print_line).up(parallel=1)
    assert seen, f"the run had no step {step!r}: " + "\n".join(line for line in lines if "error" in line)
