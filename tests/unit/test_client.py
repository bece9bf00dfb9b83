import json
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from urllib3 import HTTPConnectionPool
from urllib3.exceptions import ReadTimeoutError
from urllib3.util import Timeout

from consul_cluster import client as consul_api
from consul_cluster.client import Consul, ConsulError, ForbiddenError, HiddenError, NoAnswerError, UntrustedError
from tests.fake_consul import Answer, Request, serve

TOKEN = "5c1b2b5e-consul-acl-token"  # noqa: S105 - no real one

# Consul 1.17.2's own words.
BILLING = {"ID": "billing_service", "Port": 8216, "Tags": ["v1"], "Checks": [{"CheckID": "billing_service-health"}]}
UNKNOWN = b"unknown service ID: billing_service"
UNKNOWN_TOO = b'Unknown service ID "billing_service". Ensure that the service ID is passed, not the service name.'
NO_ENDPOINT = b"Invalid URL path: not a recognized HTTP API endpoint\n"


@dataclass
class Agent:
    """Answers with what a test set: one answer a request, the last of them from then on."""

    asked: list[Request] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    address: str = ""

    @property
    def url(self) -> str:
        """The leader's, as errors name it."""
        return f"{self.address}/v1/status/leader"

    def says(self, status: int, body: bytes = b"", **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers.append((status, body, named))

    def answer(self, request: Request) -> Answer:
        self.asked.append(request)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def serving() -> Iterator[Agent]:
    agent = Agent()
    with serve(agent.answer) as agent.address:
        yield agent


agent = pytest.fixture(serving, name="agent")
elsewhere = pytest.fixture(serving, name="elsewhere")


@pytest.fixture(name="pauses")
def _pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that were waited between tries, without waiting for them."""
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    return waited


def nobodys_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def error_of(ask: Callable[[], object]) -> str:
    with pytest.raises(ConsulError) as caught:
        ask()
    return str(caught.value)


# What is asked


@pytest.mark.parametrize(
    "ask",
    [Consul.leader, lambda consul: consul.register_in_catalog({"Node": "staging-external"})],
    ids=["without a body", "with a body"],
)
def test_the_token_is_sent_as_x_consul_token(agent: Agent, ask: Callable[[Consul], object]) -> None:
    agent.says(200, b'""')
    ask(Consul(agent.address, TOKEN))
    assert agent.asked[0].headers["X-Consul-Token"] == TOKEN


@pytest.mark.parametrize("token", [None, ""])
def test_without_a_token_no_header_is_sent(agent: Agent, token: str | None) -> None:
    agent.says(200, b'""')
    Consul(agent.address, token).leader()
    assert "X-Consul-Token" not in agent.asked[0].headers


def test_a_service_is_registered_with_exactly_its_own_checks_and_stays_in_maintenance(agent: Agent) -> None:
    # With replace-existing-checks, Consul would end the maintenance.
    agent.says(200)
    agent.says(200, b'{"billing_service-health": {}, "given-up": {}, "_service_maintenance:billing_service": {}}')
    agent.says(200)
    Consul(agent.address).register(BILLING)
    assert [(each.method, each.path, each.query) for each in (agent.asked[0], agent.asked[-1])] == [
        ("PUT", "/v1/agent/service/register", {}),
        ("PUT", "/v1/agent/check/deregister/given-up", {}),
    ]
    assert len(agent.asked) == 3


def test_a_service_is_registered_with_the_body_that_was_given(agent: Agent) -> None:
    agent.says(200)
    agent.says(200, b"{}")
    Consul(agent.address).register(BILLING)
    assert json.loads(agent.asked[0].body) == BILLING


def test_instances_that_the_token_may_not_see_are_an_error(agent: Agent) -> None:
    agent.says(200, b"[]", X_Consul_Results_Filtered_By_ACLs="true")
    with pytest.raises(HiddenError, match="the token needs node:read on their node"):
        Consul(agent.address).instances("billing", "billing_service")


def test_a_service_is_deregistered_by_id(agent: Agent) -> None:
    agent.says(200)
    Consul(agent.address).deregister("billing_service")
    assert (agent.asked[0].method, agent.asked[0].path) == ("PUT", "/v1/agent/service/deregister/billing_service")


def test_an_id_is_one_segment_of_the_path_whatever_is_in_it(agent: Agent) -> None:
    agent.says(200, b"{}")
    Consul(agent.address).service("a/../b?c")
    assert agent.asked[0].path == "/v1/agent/service/a%2F..%2Fb%3Fc"


def test_checks_are_those_of_one_service(agent: Agent) -> None:
    agent.says(200, b"{}")
    Consul(agent.address).checks('a" or "b')
    assert agent.asked[0].query == {"filter": [r'ServiceID == "a\" or \"b"']}


def test_the_catalog_is_asked_for_one_service_of_one_node(agent: Agent) -> None:
    agent.says(200, b"[]")
    Consul(agent.address).in_catalog("consul-agent-shared", "billing", "billing_service")
    assert (agent.asked[0].path, agent.asked[0].query) == (
        "/v1/health/service/billing",
        {"filter": ['Service.ID == "billing_service" and Node.Node == "consul-agent-shared"']},
    )


@pytest.mark.parametrize(
    ("remove", "body"),
    [
        (
            lambda consul: consul.deregister_from_catalog("staging-external", "billing_service"),
            {"Node": "staging-external", "ServiceID": "billing_service"},
        ),
        (
            lambda consul: consul.deregister_check("staging-external", "billing_service-health"),
            {"Node": "staging-external", "CheckID": "billing_service-health"},
        ),
        (lambda consul: consul.deregister_node("staging-external"), {"Node": "staging-external"}),
    ],
    ids=["service", "check", "node"],
)
def test_what_is_removed_from_the_catalog_is_named_by_exactly_this_body(
    agent: Agent, remove: Callable[[Consul], object], body: dict[str, str]
) -> None:
    # Without the id of a service or of a check, the whole node would be removed.
    agent.says(200, b"true")
    remove(Consul(agent.address))
    [asked] = agent.asked
    assert (asked.method, asked.path, asked.query) == ("PUT", "/v1/catalog/deregister", {})
    assert json.loads(asked.body) == body


def test_a_service_moves_in_the_catalog_with_exactly_this_body(agent: Agent) -> None:
    # Consul refuses an operation without the service's name, and one with fields that it shows and does not keep.
    agent.says(200, b'{"Results": [], "Errors": null}')
    service = {"ID": "billing-1", "Service": "billing", "Port": 8216, "Meta": {"team": "user"}}
    check = {"CheckID": "billing-1-health", "Status": "warning", "ServiceID": "billing-1", "ServiceName": "billing"}
    Consul(agent.address).move_in_catalog(
        {**service, "TaggedAddresses": {}, "Proxy": {}, "Connect": {}, "ModifyIndex": 7},
        [{**check, "Node": "old", "Type": "http", "Interval": "10s", "Timeout": "5s", "Definition": {}}],
        "old",
        "new",
    )
    [asked] = agent.asked
    assert (asked.method, asked.path, json.loads(asked.body)) == (
        "PUT",
        "/v1/txn",
        [
            {"Service": {"Verb": "delete", "Node": "old", "Service": service}},
            {"Service": {"Verb": "set", "Node": "new", "Service": service}},
            {"Check": {"Verb": "set", "Check": {**check, "Node": "new"}}},
        ],
    )


def test_a_service_is_registered_in_the_catalog_with_the_body_that_was_given(agent: Agent) -> None:
    agent.says(200, b"true")
    Consul(agent.address).register_in_catalog({"Node": "staging-external", "Service": {"ID": "billing_service"}})
    assert (agent.asked[0].method, agent.asked[0].path) == ("PUT", "/v1/catalog/register")
    assert json.loads(agent.asked[0].body) == {"Node": "staging-external", "Service": {"ID": "billing_service"}}


def test_a_tokens_secret_is_asked_for_by_its_accessor(agent: Agent) -> None:
    agent.says(200, b'{"AccessorID": "6a1253d2", "SecretID": "45a3bd52", "Policies": []}')
    assert Consul(agent.address).token_secret("6a12/53d2") == "45a3bd52"
    assert (agent.asked[0].method, agent.asked[0].path) == ("GET", "/v1/acl/token/6a12%2F53d2")


def test_the_accessor_of_ones_own_token_is_asked_for_with_that_token(agent: Agent) -> None:
    agent.says(200, b'{"AccessorID": "6a1253d2", "SecretID": "5c1b2b5e"}')
    assert Consul(agent.address, TOKEN).own_accessor() == "6a1253d2"
    assert (agent.asked[0].method, agent.asked[0].path) == ("GET", "/v1/acl/token/self")
    assert agent.asked[0].headers["X-Consul-Token"] == TOKEN


def test_a_token_is_removed_by_its_accessor(agent: Agent) -> None:
    agent.says(200, b"true")
    Consul(agent.address).delete_token("6a1253d2")
    assert (agent.asked[0].method, agent.asked[0].path) == ("DELETE", "/v1/acl/token/6a1253d2")


def test_a_gossip_key_is_installed_and_then_used(agent: Agent) -> None:
    agent.says(200)
    Consul(agent.address).replace_gossip_key("pUqJrVyVRj5jsiYEkM/tFQYfWyJIv4s3XkvDwy7Cu5s=")
    assert [(each.method, each.path) for each in agent.asked] == [
        ("POST", "/v1/operator/keyring"),
        ("PUT", "/v1/operator/keyring"),
    ]
    key = {"Key": "pUqJrVyVRj5jsiYEkM/tFQYfWyJIv4s3XkvDwy7Cu5s="}
    assert [json.loads(each.body) for each in agent.asked] == [key, key]


def test_a_gossip_key_that_is_not_installed_is_not_used(agent: Agent) -> None:
    agent.says(403, b"Permission denied")
    said = error_of(lambda: Consul(agent.address).replace_gossip_key("pUqJrVyV"))
    assert said == f"POST {agent.address}/v1/operator/keyring: Consul answers 403: Permission denied"
    assert len(agent.asked) == 1


def test_a_checks_status_is_written_with_the_rest_of_it_as_it_was_and_nothing_of_its_node(agent: Agent) -> None:
    agent.says(200, b"true")
    check = {
        "Node": "staging-external",
        "CheckID": "a-health",
        "Status": "critical",
        "Output": "",
        "Notes": "as it was",
    }
    Consul(agent.address).set_status(check, "passing", "HTTP GET http://a:1/health: 200 OK")
    assert (agent.asked[0].method, agent.asked[0].path) == ("PUT", "/v1/catalog/register")
    assert json.loads(agent.asked[0].body) == {
        "Node": "staging-external",
        "SkipNodeUpdate": True,
        "Check": {
            "Node": "staging-external",
            "CheckID": "a-health",
            "Status": "passing",
            "Output": "HTTP GET http://a:1/health: 200 OK",
            "Notes": "as it was",
        },
    }


def test_what_clients_find_is_asked_for_as_they_ask(agent: Agent) -> None:
    agent.says(200, b"[]")
    Consul(agent.address).discover("billing_service")
    assert (agent.asked[0].path, agent.asked[0].query) == (
        "/v1/health/service/billing_service",
        {"passing": ["true"]},
    )


def test_every_check_is_one_request(agent: Agent) -> None:
    agent.says(200, b"[]")
    Consul(agent.address).catalog_checks()
    assert [asked.path for asked in agent.asked] == ["/v1/health/state/any"]


# What is answered


def test_a_service_is_as_the_agents_api_returns_it(agent: Agent) -> None:
    agent.says(200, b'{"ID": "billing_service", "Port": 8216}')
    assert Consul(agent.address).service("billing_service") == {"ID": "billing_service", "Port": 8216}


@pytest.mark.parametrize("words", [UNKNOWN, UNKNOWN_TOO])
def test_a_service_that_the_agent_does_not_know_is_none(agent: Agent, words: bytes) -> None:
    agent.says(404, words)
    assert Consul(agent.address).service("billing_service") is None


@pytest.mark.parametrize("words", [UNKNOWN, UNKNOWN_TOO])
def test_deregistering_what_is_gone_already_is_no_error(agent: Agent, words: bytes) -> None:
    agent.says(404, words)
    Consul(agent.address).deregister("billing_service")
    assert len(agent.asked) == 1


def test_deregistering_what_the_catalog_has_no_more_is_no_error(agent: Agent) -> None:
    # So the servers answer a token that may write the service alone, and not its node.
    agent.says(500, b"Unknown service ID 'billing_service'")
    Consul(agent.address).deregister_from_catalog("consul-agent-shared", "billing_service")
    assert len(agent.asked) == 1


def test_plain_http_to_who_speaks_https_is_no_answer(agent: Agent) -> None:
    # As after a run that was killed when it had replaced the agent: the state still has the address of before.
    agent.says(400, b"Client sent an HTTP request to an HTTPS server.\n")
    with pytest.raises(NoAnswerError, match=r"no answer to plain HTTP: what listens there speaks HTTPS$"):
        Consul(agent.address).service("billing_service")


def test_the_output_of_a_check_that_met_an_https_server_is_an_answer(agent: Agent) -> None:
    output = "HTTP GET http://a: 400 Bad Request Output: Client sent an HTTP request to an HTTPS server."
    agent.says(200, json.dumps({"a-health": {"Output": output}}).encode())
    assert Consul(agent.address).all_checks() == {"a-health": {"Output": output}}


def test_https_to_who_speaks_plain_http_is_no_answer(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consul_api, "_RETRY_PAUSES", ())
    with pytest.raises(NoAnswerError, match=r"no answer over TLS: what listens there speaks plain HTTP$"):
        Consul(agent.address.replace("http:", "https:")).service("billing_service")


@pytest.mark.parametrize("words", [b"", b"<h1>Not Found</h1>", NO_ENDPOINT])
def test_a_404_of_what_is_no_consul_is_no_missing_service(agent: Agent, words: bytes) -> None:
    agent.says(404, words)
    said = error_of(lambda: Consul(agent.address).service("billing_service"))
    assert said.startswith(f"GET {agent.address}/v1/agent/service/billing_service: Consul answers 404: ")


def test_a_404_of_what_is_no_consul_is_no_deregistration(agent: Agent) -> None:
    agent.says(404, b"<h1>Not Found</h1>")
    said = error_of(lambda: Consul(agent.address).deregister("billing_service"))
    assert said.endswith("Consul answers 404: <h1>Not Found</h1>")


def test_a_register_is_never_missing(agent: Agent) -> None:
    agent.says(404, UNKNOWN)
    assert "Consul answers 404" in error_of(lambda: Consul(agent.address).register({}))


def test_the_catalogs_nodes_are_known_by_name(agent: Agent) -> None:
    agent.says(200, b'[{"Node": "staging-consul"}, {"Node": "consul-agent-shared"}]')
    assert Consul(agent.address).catalog_nodes().keys() == {"staging-consul", "consul-agent-shared"}


def test_a_node_that_the_catalog_does_not_have_is_none(agent: Agent) -> None:
    agent.says(200, b"null")
    assert Consul(agent.address).catalog_node("staging-external") is None


def test_a_node_of_the_catalog_is_found_by_name_and_is_as_the_servers_return_it(agent: Agent) -> None:
    agent.says(200, b'{"Node": {"Node": "staging/external"}, "Services": {}}')
    found = Consul(agent.address).catalog_node("staging/external")
    assert (agent.asked[0].method, agent.asked[0].path) == ("GET", "/v1/catalog/node/staging%2Fexternal")
    assert found == {"Node": {"Node": "staging/external"}, "Services": {}}


def test_a_node_that_the_catalog_does_not_have_has_no_services(agent: Agent) -> None:
    agent.says(200, b"null")
    assert Consul(agent.address).node_services("staging-external") == {}


def test_a_nodes_services_come_with_the_node_and_are_known_by_id(agent: Agent) -> None:
    agent.says(200, b'{"Node": {}, "Services": {"billing_service": {"Port": 8216}}}')
    assert Consul(agent.address).node_services("staging-external").keys() == {"billing_service"}
    assert (agent.asked[0].method, agent.asked[0].path) == ("GET", "/v1/catalog/node/staging-external")


def test_a_nodes_checks_are_found_by_the_nodes_name_and_are_as_the_servers_return_them(agent: Agent) -> None:
    agent.says(200, b'[{"CheckID": "a-health", "Status": "passing"}]')
    assert Consul(agent.address).node_checks("staging/external") == [{"CheckID": "a-health", "Status": "passing"}]
    assert (agent.asked[0].method, agent.asked[0].path) == ("GET", "/v1/health/node/staging%2Fexternal")


@pytest.mark.parametrize(
    "ask",
    [
        lambda consul: consul.catalog_node("staging-external"),
        lambda consul: consul.node_services("staging-external"),
        lambda consul: consul.node_checks("staging-external"),
        lambda consul: consul.deregister_check("staging-external", "billing_service-health"),
        lambda consul: consul.set_status({"Node": "staging-external"}, "passing", ""),
    ],
    ids=["catalog_node", "node_services", "node_checks", "deregister_check", "set_status"],
)
def test_what_the_servers_refuse_is_never_taken_for_missing(agent: Agent, ask: Callable[[Consul], object]) -> None:
    agent.says(404, UNKNOWN)
    assert "Consul answers 404" in error_of(lambda: ask(Consul(agent.address)))


def test_what_the_catalog_does_not_hold_is_none(agent: Agent) -> None:
    agent.says(200, b"[]")
    assert Consul(agent.address).in_catalog("consul-agent-shared", "billing", "billing_service") is None


def test_an_instance_in_the_catalog_is_its_entry(agent: Agent) -> None:
    agent.says(200, b'[{"Service": {"Port": 8216, "Tags": ["v1"], "Meta": {"team": "user"}}, "Checks": []}]')
    found = Consul(agent.address).in_catalog("consul-agent-shared", "billing", "billing_service")
    assert found == {"Service": {"Port": 8216, "Tags": ["v1"], "Meta": {"team": "user"}}, "Checks": []}


@pytest.mark.parametrize(
    "ask",
    [
        lambda consul: consul.in_catalog("agent", "report", "report_service"),
        lambda consul: consul.instances("report", "report_service")[0],
        lambda consul: consul.discover("report")[0],
    ],
    ids=["in_catalog", "instances", "discover"],
)
def test_what_the_servers_leave_out_of_an_instance_is_its_empty_value(
    agent: Agent, ask: Callable[[Consul], dict[str, object]]
) -> None:
    agent.says(200, b'[{"Service": {"Address": "isa-report", "Tags": null, "Meta": null}}]')
    assert ask(Consul(agent.address))["Service"] == {"Address": "isa-report", "Port": 0, "Tags": [], "Meta": {}}


def test_what_the_servers_leave_out_of_a_nodes_services_is_its_empty_value(agent: Agent) -> None:
    agent.says(200, b'{"Node": {}, "Services": {"report_service": {"Address": "isa-report", "Meta": null}}}')
    found = Consul(agent.address).node_services("consul-agent-shared")
    assert found == {"report_service": {"Address": "isa-report", "Port": 0, "Tags": [], "Meta": {}}}


def test_a_200_of_what_is_no_consul_is_a_consul_error(agent: Agent) -> None:
    agent.says(200, b"<html>Welcome!</html>")
    with pytest.raises(ConsulError, match=re.escape(agent.url)):
        Consul(agent.address).leader()


# What is tried again


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_5xx_is_tried_again(agent: Agent, status: int) -> None:
    agent.says(status, b"No cluster leader")
    agent.says(200, b'"127.0.0.1:8300"')
    assert Consul(agent.address).leader() == "127.0.0.1:8300"


def test_a_put_is_tried_again_with_the_same_body(agent: Agent) -> None:
    agent.says(500, b"No cluster leader")
    agent.says(200)
    Consul(agent.address).register_in_catalog({"Node": "staging-external"})
    assert [each.body for each in agent.asked] == [b'{"Node":"staging-external"}'] * 2


def test_a_5xx_that_stays_is_after_five_tries_an_error_in_consuls_own_words(agent: Agent, pauses: list[float]) -> None:
    agent.says(500, b"No cluster leader\n")
    assert error_of(Consul(agent.address).leader) == f"GET {agent.url}: Consul answers 500: No cluster leader"
    assert (len(agent.asked), pauses) == (5, [0, 0.4, 0.8, 1.6])


@pytest.mark.parametrize("status", [400, 403, 404, 409, 429])
def test_a_4xx_is_after_one_try_an_error_in_consuls_own_words(agent: Agent, status: int) -> None:
    agent.says(status, b"Permission denied\n")
    assert error_of(Consul(agent.address).leader) == f"GET {agent.url}: Consul answers {status}: Permission denied"
    assert len(agent.asked) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 429])
def test_a_403_alone_is_a_right_that_the_token_lacks(agent: Agent, status: int) -> None:
    agent.says(status, b"Permission denied")
    with pytest.raises(ConsulError) as caught:
        Consul(agent.address).leader()
    assert isinstance(caught.value, ForbiddenError) == (status == 403)


def test_an_error_has_the_readable_part_of_words_that_are_no_utf8(agent: Agent) -> None:
    agent.says(400, b"bad \xff byte")
    assert error_of(Consul(agent.address).leader).endswith("Consul answers 400: bad \N{REPLACEMENT CHARACTER} byte")


@pytest.mark.usefixtures("pauses")
def test_a_4xx_is_not_tried_again_for_its_retry_after_header(agent: Agent) -> None:
    agent.says(429, b"Slow down", Retry_After="0")
    error_of(Consul(agent.address).leader)
    assert len(agent.asked) == 1


def test_an_agent_that_comes_up_meanwhile_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    port, late = nobodys_port(), Agent()
    late.says(200, b'"127.0.0.1:8300"')
    with ExitStack() as stack:

        def start_while_waiting(_seconds: float) -> None:
            late.address = late.address or stack.enter_context(serve(late.answer, port))

        monkeypatch.setattr(time, "sleep", start_while_waiting)
        assert Consul(f"http://127.0.0.1:{port}").leader() == "127.0.0.1:8300"


def test_a_refused_connection_is_after_five_tries_an_error_of_one_line_without_urllib3s_own(
    pauses: list[float],
) -> None:
    nobody = f"http://127.0.0.1:{nobodys_port()}"
    with pytest.raises(ConsulError) as caught:
        Consul(nobody).leader()
    said = rf"GET {re.escape(nobody)}/v1/status/leader: no answer: .*Connection refused"
    assert re.fullmatch(said, str(caught.value))
    assert (caught.value.__cause__, caught.value.__suppress_context__) == (None, True)
    assert pauses == [0, 0.4, 0.8, 1.6]


def test_an_agent_that_never_answers_is_an_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consul_api, "_TIMEOUT", Timeout(connect=1, read=0.02))
    monkeypatch.setattr(consul_api, "_RETRY_PAUSES", (0, 0))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        consul = Consul(f"http://127.0.0.1:{silent.getsockname()[1]}")
        said = [error_of(consul.leader), error_of(consul.all_services)]
        silent.settimeout(0.1)
        silent.accept()
        with pytest.raises(TimeoutError):  # it was asked once: each try, and each request, would take 15 s
            silent.accept()
    assert re.search(r"/v1/status/leader: no answer: .*timed out", said[0])
    assert said[1].endswith("/v1/agent/services: no answer: a request before this one timed out")


def test_an_agent_that_was_silent_is_asked_again_later(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    def silence(*_args: object, **_options: object) -> None:
        raise ReadTimeoutError(HTTPConnectionPool("a"), "/", "timed out")

    agent.says(200, b"{}")
    consul = Consul(agent.address)
    with monkeypatch.context() as patch:
        patch.setattr(consul_api, "_SILENCE", 0.0)
        patch.setattr(consul._http, "request", silence)
        error_of(consul.leader)
    assert consul.all_services() == {}


@pytest.mark.usefixtures("pauses")
def test_an_address_that_is_none_is_an_error_too() -> None:
    assert error_of(Consul("http://a b:8501").leader).startswith("GET http://a b:8501/v1/status/leader: ")


# The token goes to nobody else


@pytest.mark.usefixtures("pauses")
@pytest.mark.parametrize("status", [400, 403, 404, 500])
def test_the_token_is_in_no_error_about_an_answer(agent: Agent, status: int) -> None:
    agent.says(status, b"Permission denied")
    assert TOKEN not in error_of(Consul(agent.address, TOKEN).leader)


@pytest.mark.usefixtures("pauses")
def test_the_token_is_not_in_the_error_about_no_answer() -> None:
    assert TOKEN not in error_of(Consul(f"http://127.0.0.1:{nobodys_port()}", TOKEN).leader)


def test_the_token_is_not_sent_to_where_an_agent_redirects(agent: Agent, elsewhere: Agent) -> None:
    elsewhere.says(200, b'""')
    agent.says(302, Location=elsewhere.url)
    with suppress(ConsulError):
        Consul(agent.address, TOKEN).leader()
    assert TOKEN not in [each.headers.get("X-Consul-Token") for each in elsewhere.asked]


@pytest.mark.parametrize("token", [f"{TOKEN}\n", f"{TOKEN}\N{EURO SIGN}"], ids=["line feed", "euro sign"])
def test_a_token_that_no_header_can_hold_is_a_consul_error_without_it(agent: Agent, token: str) -> None:
    agent.says(200, b'""')
    assert TOKEN not in error_of(lambda: Consul(agent.address, token).leader())


# TLS


@dataclass(frozen=True)
class Authority:
    """Signs a certificate for 127.0.0.1."""

    certificate: str
    server: ssl.SSLContext


def authority(folder: Path) -> Authority:
    folder.mkdir()
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    wanted = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=Consul"
    names = "-addext subjectAltName=IP:127.0.0.1"
    subprocess.run(
        ["openssl", "req", "-x509", *wanted.split(), *names.split(), "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    return Authority(certificate.read_text(), server)


@pytest.fixture(name="own")
def _own(tmp_path: Path) -> Authority:
    return authority(tmp_path / "own")


@pytest.fixture(name="encrypted")
def _encrypted(own: Authority) -> Iterator[str]:
    """The address of an agent that speaks TLS alone."""
    with serve(lambda _: (200, b'"10.0.0.1:8300"', {}), tls=own.server) as address:
        yield address


def test_an_api_is_trusted_whose_authority_is_given_as_text(own: Authority, encrypted: str) -> None:
    assert Consul(encrypted, TOKEN, own.certificate).leader() == "10.0.0.1:8300"


@pytest.mark.usefixtures("pauses")
def test_an_api_is_not_trusted_whose_authority_is_not_given_and_is_not_nobody(encrypted: str) -> None:
    # What is nobody's counts as gone with its agent.
    with pytest.raises(ConsulError, match="certificate verify failed") as caught:
        Consul(encrypted, TOKEN).leader()
    assert type(caught.value) is UntrustedError
    assert TOKEN not in str(caught.value)


@pytest.mark.usefixtures("pauses")
def test_an_api_is_not_trusted_whose_authority_is_another(tmp_path: Path, encrypted: str) -> None:
    other = authority(tmp_path / "other")
    assert "certificate verify failed" in error_of(lambda: Consul(encrypted, TOKEN, other.certificate).leader())
