import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from pulumi import automation

from operations.absent_server import restore_server
from operations.pulumi_engine import Engine
from tests.unit.stacks import IDLE_ENGINE, stack_at

SERVER = "urn:pulumi:local::consul-staging::docker:index/container:Container::server-container"
OTHER = "urn:pulumi:local::consul-staging::docker:index/container:Container::agent-container"


@dataclass(frozen=True)
class Recorder(Engine):
    """An engine with some resources in its state; keeps what it is asked to deploy."""

    resources: list[str] = field(default_factory=list)
    deployed: list[dict[str, Any]] = field(default_factory=list)

    def urns(self) -> list[str]:
        return self.resources

    def up(self, **options: Any) -> automation.UpResult:  # noqa: ANN401 - as of the base class
        self.deployed.append(options)
        raise StopIteration


@pytest.fixture
def listening() -> Iterator[str]:
    """The address of a server that is there."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


NOBODY = "http://127.0.0.1:9"


def targets(address: str, urns: list[str], **config: object) -> list[list[str]]:
    engine = Recorder(IDLE_ENGINE.pulumi, IDLE_ENGINE.folder, print_line=lambda _: None, resources=urns)
    stack = stack_at("http://127.0.0.1:8501", address)
    settings = stack.settings.model_copy(update={"docker": True, "server": "created", **config})
    with suppress(StopIteration):
        restore_server(replace(stack, engine=engine, settings=settings))
    return [each["target"] for each in engine.deployed]


def test_a_server_that_is_gone_is_deployed_alone() -> None:
    assert targets(NOBODY, [OTHER, SERVER]) == [[SERVER]]


def test_a_server_that_answers_is_left_alone(listening: str) -> None:
    assert targets(listening, [OTHER, SERVER]) == []


def test_a_server_that_was_never_deployed_is_not_deployed_alone() -> None:
    assert targets(NOBODY, []) == []


@pytest.mark.parametrize("config", [{"server": "existing"}, {"docker": False}], ids=str)
def test_a_server_that_is_not_the_stacks_is_not_deployed(config: dict[str, object]) -> None:
    assert targets(NOBODY, [OTHER, SERVER], **config) == []
