"""What a service's line can say, with registration `catalog`: the provider registers it, and consul-esm runs it."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from consul_cluster.client import Consul
from operations.stack import Stack
from services import roster
from services.checks import HttpCheck
from services.environment import Environment
from services.model import Service, Weights
from services.roster import Roster
from services.user_services import USER
from tests.docker.conftest import changes, docker, existing_network, existing_server, project, status
from tests.docker.host_python import run_python
from tests.waiting import within

BILLING = "billing_service"
# Answers what a check of its own asks, and nothing else.
SERVICE = """
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.send_response(200 if self.headers["X-Probe"] == "consul" and self.path == "/ready" else 404)
        self.end_headers()
HTTPServer(("0.0.0.0", 8216), Handler).serve_forever()
"""

pytestmark = pytest.mark.timeout(600)


def billing(probe: str = "consul") -> Service:
    check = HttpCheck(
        path="/ready",
        method="POST",
        header={"X-Probe": (probe,)},
        interval=timedelta(seconds=1),
        deregister_critical_service_after=None,
    )
    return USER.service(
        Environment("staging"),
        "billing",
        8216,
        checks=(check,),
        tags=("preferred",),
        meta={"base_path": "/api"},
        weights=Weights(passing=10, warning=2),
    )


@pytest.fixture(scope="module")
def server() -> Iterator[Consul]:
    with existing_network(), existing_server() as made:
        run_python("isa-billing", "-c", SERVICE)
        try:
            yield made
        finally:
            docker("rm", "--force", "isa-billing")


@pytest.fixture
def stack(server: Consul, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    assert server.leader()
    state(monkeypatch, billing())
    made = project(tmp_path, "staging", registration="catalog")
    try:
        changes(made)
        yield made
    finally:
        made.engine.destroy()


def state(monkeypatch: pytest.MonkeyPatch, service: Service) -> None:
    monkeypatch.setattr(roster, "load_roster", lambda *_: Roster(services=(service,)))


def test_consul_esm_sends_the_method_and_the_header_that_a_check_states(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    within(30, lambda: status(stack, BILLING) == "passing")
    state(monkeypatch, billing("another"))
    assert changes(stack)["update"] == 1
    within(30, lambda: status(stack, BILLING) == "critical")


def test_the_catalog_has_the_weights_tags_and_meta_that_the_line_states(stack: Stack, server: Consul) -> None:
    found = server.node_services("staging-external")[BILLING]
    assert found["Weights"] == {"Passing": 10, "Warning": 2}
    assert "preferred" in found["Tags"]
    assert found["Meta"]["base_path"] == "/api"


def test_a_second_up_changes_nothing(stack: Stack) -> None:
    assert changes(stack).keys() == {"same"}
