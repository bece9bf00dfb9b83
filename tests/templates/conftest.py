"""consul-template and nginx beside a real Consul: what a stack with templates deploys, as processes."""

from collections.abc import Iterator

import pytest

import toolchain
from tests.templates.gateway import CONSUL_TEMPLATE, Gateway, gateway, program


def obstacle() -> str | None:
    """Return why these tests cannot run here, and what would help."""
    if not program("consul-template"):
        return (
            f"consul-template is not on PATH here: go install github.com/hashicorp/consul-template@{CONSUL_TEMPLATE}, "
            "and have $(go env GOPATH)/bin on PATH"
        )
    if not program("nginx"):
        return "nginx is not on PATH here: apt-get install nginx-light, or your system's own package"
    return None


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fail where nothing could be proved: a run whose tests are all skipped would be green."""
    if not session.config.option.collectonly and (reason := obstacle()):
        raise pytest.UsageError(reason)
    toolchain.consul()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The forty services and a second instance of one, and a gateway to them."""
    with gateway(tmp_path_factory.mktemp("gateway")) as started:
        yield started
