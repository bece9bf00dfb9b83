import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pulumi
import pytest

import waiting
from components import resource_hooks as hooks
from components.consul_connection import Connection
from components.resource_hooks import consul_hook, wait_for_leader
from consul_cluster.client import Consul, ConsulError, NoAnswerError
from tests.event_loop import run_to_end
from tests.fake_consul import FakeConsul, running
from tests.unit.pulumi_mocks import Deployed, deploy, secret

TOKEN = "5c1b2b5e-consul-acl-token"  # noqa: S105 - no real one
DENIED = (403, "ACL not found")


def sleeping(monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[float], object] = lambda _: None) -> list[float]:
    """Have what waits for Consul not wait, and something happen meanwhile; returns the seconds of each pause."""
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        meanwhile(seconds)

    monkeypatch.setattr(waiting, "time", SimpleNamespace(monotonic=time.monotonic, sleep=sleep))
    return slept


@pytest.fixture(name="servers")
def _servers() -> Iterator[FakeConsul]:
    with running(FakeConsul()) as consul:
        yield consul


# Who is let in


def resolved(made: Connection) -> tuple[str, str | None]:
    """Address and token of an endpoint's client, as its server is sent them."""
    found: list[Consul] = []

    async def work(_: pulumi.ResourceHookArgs) -> None:
        found.append(await made.consul())

    deployed(work).call("work")
    found[0].leader()
    return found[0].address, found[0]._http.headers.get("X-Consul-Token")


def deployed(work: Callable[[pulumi.ResourceHookArgs], Coroutine[Any, Any, None]]) -> Deployed:
    def program() -> None:
        hooks = pulumi.ResourceHookBinding(before_create=[consul_hook("work", work)])
        pulumi.CustomResource("test:index:Thing", "thing", {}, pulumi.ResourceOptions(hooks=hooks))

    return deploy(program)


@pytest.mark.parametrize("token", [None, TOKEN])
def test_a_client_has_the_endpoints_address_and_token(servers: FakeConsul, token: str | None) -> None:
    assert resolved(Connection(servers.address, token)) == (servers.address, token)
    assert servers.tokens == {token}


def test_a_token_is_a_secret_whatever_it_comes_as() -> None:
    def program() -> None:
        for name, token in (("text", TOKEN), ("output", pulumi.Output.from_input(TOKEN))):
            pulumi.export(name, Connection("http://127.0.0.1:8500", token).secret_token)

    assert deploy(program).sent_exports == {"text": secret(TOKEN), "output": secret(TOKEN)}


def test_no_token_is_no_secret() -> None:
    assert Connection("http://127.0.0.1:8500").secret_token is None


def test_the_token_is_not_in_the_repr() -> None:
    assert TOKEN not in repr(Connection("http://127.0.0.1:8500", TOKEN))


# Hooks


def test_a_hook_fails_with_why_consul_refuses() -> None:
    async def work(_: pulumi.ResourceHookArgs) -> None:
        raise ConsulError("Consul answers 403: Permission denied")

    assert deployed(work).call("work") == "Consul answers 403: Permission denied"


def test_where_nobody_answers_a_hook_has_nothing_to_do() -> None:
    async def work(_: pulumi.ResourceHookArgs) -> None:
        raise NoAnswerError("GET http://127.0.0.1:9/v1/status/leader: no answer")

    assert deployed(work).call("work") == ""


def test_where_consul_hangs_a_hook_has_not_done_its_work(silent_api: str) -> None:
    async def work(_: pulumi.ResourceHookArgs) -> None:
        Consul(silent_api).leader()

    assert "/v1/status/leader: no answer: Read timed out" in deployed(work).call("work")


# Waiting


# Servers that have a leader


def test_servers_with_a_leader_are_not_waited_for(servers: FakeConsul, monkeypatch: pytest.MonkeyPatch) -> None:
    slept = sleeping(monkeypatch)
    run_to_end(wait_for_leader(Consul(servers.address), token=False))
    assert slept == []


def test_servers_are_waited_for_until_they_have_a_leader(servers: FakeConsul, monkeypatch: pytest.MonkeyPatch) -> None:
    def elect(_: float) -> None:
        servers.leader = "10.0.0.1:8300"

    slept, servers.leader = sleeping(monkeypatch, elect), ""
    run_to_end(wait_for_leader(Consul(servers.address), token=False))
    assert slept == [0.1]


def test_servers_are_waited_for_until_they_know_the_token(servers: FakeConsul, monkeypatch: pytest.MonkeyPatch) -> None:
    def know(_: float) -> None:
        servers.refuses_token = None

    slept, servers.refuses_token = sleeping(monkeypatch, know), DENIED
    run_to_end(wait_for_leader(Consul(servers.address, TOKEN), token=True))
    assert (slept, servers.tokens) == ([0.1], {TOKEN})


def test_servers_that_ask_for_no_token_need_not_know_one(servers: FakeConsul, monkeypatch: pytest.MonkeyPatch) -> None:
    slept, servers.refuses_token = sleeping(monkeypatch), DENIED
    run_to_end(wait_for_leader(Consul(servers.address), token=False))
    assert slept == []


def test_a_wait_needs_none_of_the_threads_in_which_the_sdk_waits_for_the_engine(servers: FakeConsul) -> None:
    # With --parallel 1 there are four of them, and the engine goes on only when the hook returns.
    engine_goes_on = threading.Event()

    async def wait() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        rpc = loop.run_in_executor(None, engine_goes_on.wait, 10)
        await wait_for_leader(Consul(servers.address), token=False)
        engine_goes_on.set()
        assert await rpc, "the hook waited for the engine, which waited for the hook"

    with ThreadPoolExecutor(1) as thread:  # the SDK's loop is that of the main thread
        thread.submit(asyncio.run, wait()).result(20)


def test_servers_that_have_no_leader_are_an_error(servers: FakeConsul, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "_TIMEOUT", 0.2)
    servers.leader = ""
    with pytest.raises(ConsulError) as caught:
        run_to_end(wait_for_leader(Consul(servers.address), token=False))
    assert str(caught.value) == (f"the servers at {servers.address} have no leader after 0.2 s: see the log of each")
