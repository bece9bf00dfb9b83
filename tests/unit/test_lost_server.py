from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pytest

from consul_cluster import client
from operations.lost_server import has_lost_its_server
from operations.pulumi_engine import Engine, EngineError
from operations.pulumi_state import DeployedState, deployed_state
from tests.fake_consul import serve
from tests.unit.authorities import AUTHORITY
from tests.unit.stacks import IDLE_ENGINE, stack_at

NOBODY = ("http://127.0.0.1:9", None)
Servers = Sequence[tuple[str, str | None]]


@dataclass(frozen=True)
class Deployed(Engine):
    """An engine whose state has the providers of some servers; without any, nothing was ever deployed."""

    servers: Servers = ()

    def deployed_state(self) -> DeployedState:
        if not self.servers:
            raise EngineError("no stack named 'local' found")
        return DeployedState({}, unfinished=False, servers=tuple(self.servers))


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_RETRY_PAUSES", ())


@pytest.fixture
def answering() -> Iterator[tuple[str, None]]:
    with serve(lambda _: (200, b'["dc1"]', {})) as address:
        yield address, None


def lost(*servers: tuple[str, str | None], **config: object) -> bool:
    stack = stack_at("http://127.0.0.1:8501", "http://127.0.0.1:8500")
    settings = stack.settings.model_copy(update={"docker": True, "server": "created", **config})
    engine = Deployed(IDLE_ENGINE.pulumi, IDLE_ENGINE.folder, servers=servers)
    return has_lost_its_server(replace(stack, engine=engine, settings=settings))


def test_a_server_that_answers_as_the_state_has_it_is_not_lost(answering: tuple[str, None]) -> None:
    assert not lost(answering)


def test_a_server_that_is_gone_is_lost(answering: tuple[str, None]) -> None:
    assert lost(answering, NOBODY)


def test_a_server_that_speaks_the_other_protocol_by_now_is_lost(answering: tuple[str, None]) -> None:
    assert lost((answering[0].replace("http:", "https:"), AUTHORITY))


def test_a_stack_that_was_never_deployed_has_lost_nothing() -> None:
    assert not lost()


@pytest.mark.parametrize("config", [{"server": "existing"}, {"docker": False}], ids=str)
def test_a_server_that_is_not_the_stacks_is_not_asked(config: dict[str, object]) -> None:
    assert not lost(NOBODY, **config)


def test_the_state_has_the_address_and_the_authority_of_each_provider() -> None:
    inputs = {"address": "127.0.0.1:8500", "scheme": "https", "caPem": AUTHORITY}
    open_ = {"address": "127.0.0.1:8500", "scheme": "http"}
    resources = [{"type": "pulumi:providers:consul", "inputs": each} for each in (inputs, open_)]
    assert deployed_state({"resources": resources}).servers == (
        ("https://127.0.0.1:8500", AUTHORITY),
        ("http://127.0.0.1:8500", None),
    )
