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
    failed_up,
    instances,
    project,
)
from tests.waiting import within


def test_up_is_not_green_before_the_agent_has_found_the_new_server(tmp_path: Path) -> None:
    stack = project(tmp_path, "staging")
    with existing_network():
        try:
            with existing_server():
                changes(stack)
            docker("run", "--detach", "--name", "isa-new", "--network", NETWORK, "busybox:1.37.0", "sleep", "600")
            with existing_server():  # the other container has the old one's address
                said = failed_up(stack)
                assert "No known Consul servers" in said
                assert "restart the agent" in said
                docker("restart", AGENT)
                within(45, lambda: instances(stack) == all_40(stack))
                assert changes(stack).keys() == {"same"}
                stack.engine.destroy()
        finally:
            docker("rm", "--force", AGENT, "isa-new")
