"""A server of others that is lost, with its data, and comes back at another address."""

from pathlib import Path

from tests.docker.conftest import (
    AGENT,
    NETWORK,
    all_40,
    changes,
    docker,
    existing_network,
    existing_server,
    instances,
    project,
)


def test_up_has_the_agent_find_the_new_server_without_a_restart(tmp_path: Path) -> None:
    stack = project(tmp_path, "staging")
    with existing_network():
        try:
            with existing_server():
                changes(stack)
            docker("run", "--detach", "--name", "isa-new", "--network", NETWORK, "busybox:1.37.0", "sleep", "600")
            started = docker("inspect", "--format", "{{.State.StartedAt}}", AGENT)
            with existing_server():  # the other container has the old one's address
                changes(stack)
                assert instances(stack) == all_40(stack)
                assert docker("inspect", "--format", "{{.State.StartedAt}}", AGENT) == started
                assert changes(stack).keys() == {"same"}
                stack.engine.destroy()
        finally:
            docker("rm", "--force", AGENT, "isa-new")
