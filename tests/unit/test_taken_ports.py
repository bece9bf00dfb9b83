"""Whose a port of the sandbox is that cannot be listened on, and what to do about it."""

import socket
from collections.abc import Iterator

import pytest

from operations.sandbox import sandbox


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        yield holder.getsockname()[1]


@pytest.mark.parametrize(
    ("owner", "what_to_do"),
    [
        ("nginx (process 7)", "stop it"),
        ("docker-proxy (process 7)", "see docker ps; of docker-local: make down STACK=docker-local"),
    ],
)
def test_what_holds_a_port_is_named_with_the_way_to_free_it(
    port: int, owner: str, what_to_do: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "_described", lambda _: owner)
    assert sandbox._problem("127.0.0.1", port, ()) == f"127.0.0.1:{port} is taken by {owner}: {what_to_do}"
