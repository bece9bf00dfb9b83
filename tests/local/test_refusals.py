"""What an agent that refuses, fails or is away means: one clear error, nothing lost, and the next run completes it."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import urllib3
from pulumi import RunError

import toolchain
from components.consul_connection import Connection
from consul_cluster.agent_configuration import agent_config, server_config
from consul_cluster.client import Consul, ConsulError
from consul_cluster.cluster_names import STAGING_NAMES
from operations.pulumi_engine import Engine, EngineError
from operations.sandbox.processes import BackgroundProcess
from services.consul_definition import register_request
from tests.local.stacks import EditableStack, as_deployed, new_project, new_sandbox
from tests.waiting import within


@contextmanager
def answering(status: int, body: str) -> Iterator[str]:
    """Run an "agent" that has one answer to everything; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        do_GET = do_PUT = _answer  # noqa: N815 - the names that http.server calls

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def only(stack: EditableStack, *service_ids: str) -> None:
    for service in stack.roster.services:
        if service.id not in service_ids:
            stack.remove(service.id)


def test_an_agent_that_is_away_is_one_clear_error_and_the_next_run_completes(stack: EditableStack) -> None:
    only(stack, "billing_service")
    here, stack.endpoint = stack.endpoint, Connection("http://127.0.0.1:9")
    with pytest.raises(EngineError):
        stack.up()
    assert "GET http://127.0.0.1:9/v1/agent/service/billing_service: no answer: " in stack.said
    assert "Connection refused" in stack.said
    assert "error: GET http://127.0.0.1:9" in stack.said
    assert "Traceback" not in stack.said
    stack.endpoint = here
    stack.up()
    assert stack.consul.service("billing_service")


def test_an_agent_that_answers_500_is_an_error_with_the_agents_own_words(stack: EditableStack) -> None:
    only(stack, "billing_service")
    with answering(500, "No cluster leader") as address:
        stack.endpoint = Connection(address)
        with pytest.raises(EngineError):
            stack.up()
    assert "Consul answers 500: No cluster leader" in stack.said


def test_an_id_that_another_party_registered_is_an_error_that_says_who_and_what_to_do(stack: EditableStack) -> None:
    stack.consul.register({"ID": "billing_service", "Name": "billing_service", "Address": "10.1.2.3", "Port": 80})
    with pytest.raises(EngineError):
        stack.up()
    assert "service id 'billing_service' is already registered" in stack.said
    assert "by another party, not by Pulumi, at 10.1.2.3:80" in stack.said
    assert "consul-staging:adopt: true in Pulumi.local.yaml" in stack.said
    held = stack.consul.service("billing_service")
    assert held
    assert held["Address"] == "10.1.2.3"


def test_a_stack_that_allows_adoption_takes_the_id_over(stack: EditableStack) -> None:
    only(stack, "billing_service")
    stack.consul.register({"ID": "billing_service", "Name": "billing_service", "Port": 80})
    stack.adopt = True
    assert stack.up()["create"] == 3
    held = stack.consul.service("billing_service")
    assert held
    assert held["Port"] == 8216


def test_two_stacks_that_want_the_same_id_are_an_error_that_names_the_first(
    stack: EditableStack, tmp_path: Path
) -> None:
    only(stack, "billing_service")
    stack.up()
    (other := tmp_path / "other").mkdir()
    (other / "Pulumi.yaml").write_text("name: other-project\nruntime: python\n")
    second = replace(stack, engine=replace(stack.engine, project=other, folder=tmp_path / "other-pulumi"), output=[])
    with pytest.raises(EngineError):
        second.up()
    assert "by pulumi/consul-staging/local/registration-billing_service" in second.said


ACL = {
    "acl": {
        "enabled": True,
        "default_policy": "deny",
        "tokens": {"initial_management": "the-root-token", "agent": "the-root-token"},
    }
}


@contextmanager
def agents(folder: Path, *configs: dict[str, Any]) -> Iterator[None]:
    """Run Consul agents with these configurations, and wait until the first of them leads and knows its tokens."""
    programs = []
    for config in configs:
        node = folder / config["node_name"]
        node.mkdir(parents=True)
        (node / "config.json").write_text(json.dumps(config))
        command = (toolchain.consul(), "agent", "-config-file", node / "config.json", "-data-dir", node / "data")
        programs.append(BackgroundProcess(config["node_name"], command, node))
    try:
        for program in programs:
            program.start()
        within(30, lambda: knows_its_tokens(configs[0]["client_addr"]))
        yield
    finally:
        for program in reversed(programs):
            program.stop()


def knows_its_tokens(host: str) -> bool:
    """Whether a server has made the token of its configuration, which it does once it leads, and not at once."""
    with suppress(ConsulError):
        return bool(Consul(f"http://{host}:8500", "the-root-token").own_accessor())
    return False


@pytest.fixture
def acl_stack(tmp_path: Path) -> Iterator[EditableStack]:
    """One service; ACLs deny by default on the server, and an agent beside it that does not know of them."""
    sandbox = new_sandbox(tmp_path / "consul")
    server, agent = sandbox.server, sandbox.agent
    configs = (server_config(STAGING_NAMES, server, server) | ACL, agent_config(STAGING_NAMES, server, agent, agent))
    engine = Engine(toolchain.pulumi, tmp_path / "pulumi", new_project(tmp_path), checkpoints=True)
    with agents(sandbox.folder, *configs):
        stack = EditableStack(sandbox, engine, sandbox.roster, Connection(f"http://{server}:8500"))
        only(stack, "billing_service")
        yield stack


def state(stack: EditableStack) -> str:
    return "".join(path.read_text() for path in stack.engine.folder.rglob("*.json"))


def test_a_wrong_token_is_an_error_with_consuls_own_words_and_without_the_token(acl_stack: EditableStack) -> None:
    acl_stack.endpoint = replace(acl_stack.endpoint, token="a-wrong-token")  # noqa: S106
    with pytest.raises(EngineError):
        acl_stack.up()
    assert "Consul answers 403: ACL not found" in acl_stack.said
    assert "a-wrong-token" not in acl_stack.said + state(acl_stack)


def test_a_right_token_registers_and_is_nowhere_in_plain_text(acl_stack: EditableStack) -> None:
    acl_stack.endpoint = replace(acl_stack.endpoint, token="the-root-token")  # noqa: S106
    acl_stack.preview(diff=True)
    assert "token     : [secret]" in acl_stack.said
    assert "the-root-token" not in acl_stack.said
    assert acl_stack.up()["create"] == 3
    assert "the-root-token" not in acl_stack.said
    assert "ciphertext" in state(acl_stack)
    assert "the-root-token" not in state(acl_stack)
    assert acl_stack.up(refresh=True) == {"same": 3}
    acl_stack.destroy()


def test_a_token_is_nowhere_in_plain_text_after_a_refresh_that_found_drift(acl_stack: EditableStack) -> None:
    acl_stack.endpoint = replace(acl_stack.endpoint, token="the-root-token")  # noqa: S106
    acl_stack.up()
    drifted = register_request({"id": "billing_service", **as_deployed(acl_stack.roster.services[0]), "port": 9999})
    Consul(acl_stack.endpoint.address, "the-root-token").register(drifted)

    def stop_after_the_refresh() -> None:
        raise RunError("stopped")

    with pytest.raises(EngineError):
        replace(acl_stack.engine, program=stop_after_the_refresh).up(refresh=True)
    assert "9999" in state(acl_stack)
    assert "ciphertext" in state(acl_stack)
    assert "the-root-token" not in state(acl_stack)


def token_with(stack: EditableStack, rules: str) -> str:
    """Make a token that has these rights and no other."""
    headers = {"X-Consul-Token": "the-root-token"}
    api, policy = f"{stack.endpoint.address}/v1/acl", {"Name": "least", "Rules": rules}
    urllib3.request("PUT", f"{api}/policy", json=policy, headers=headers)
    made = urllib3.request("PUT", f"{api}/token", json={"Policies": [{"Name": "least"}]}, headers=headers).json()
    return str(made["SecretID"])


def test_the_rights_that_a_token_needs_are_enough_to_register_and_to_remove(acl_stack: EditableStack) -> None:
    rules = 'service "billing_service" { policy = "write" } node_prefix "" { policy = "read" }'
    acl_stack.endpoint = replace(acl_stack.endpoint, token=token_with(acl_stack, rules))
    assert acl_stack.up()["create"] == 3
    assert acl_stack.up(refresh=True) == {"same": 3}
    acl_stack.destroy()
    assert "billing_service" not in Consul(acl_stack.endpoint.address, "the-root-token").all_services()


def test_a_token_that_may_not_see_nodes_is_told_at_once_what_it_needs(acl_stack: EditableStack) -> None:
    rules = 'service "billing_service" { policy = "write" }'
    acl_stack.endpoint = replace(acl_stack.endpoint, token=token_with(acl_stack, rules))
    with pytest.raises(EngineError):
        acl_stack.up()
    assert "beside service:write on the services, the token needs node:read on their node" in acl_stack.said
    assert "the servers do not show it after" not in acl_stack.said  # which is said after 31 s


def test_what_the_agent_accepts_and_the_servers_refuse_is_an_error(acl_stack: EditableStack) -> None:
    acl_stack.endpoint = Connection(f"http://{acl_stack.sandbox.agent}:8500")
    with pytest.raises(EngineError):
        acl_stack.up()
    assert Consul(f"http://{acl_stack.sandbox.agent}:8500").service("billing_service")
    assert "accepted the change to 'billing_service', but the servers do not show it after 31 s" in acl_stack.said
    assert "a token may lack service:write" in acl_stack.said
