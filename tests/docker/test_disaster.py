"""The disaster drill: the server and its volumes are lost; from the stack, with and without a snapshot, all is back."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from operations import up
from operations.stack import Stack
from tests.docker.conftest import HTTPS, SERVER, all_40, deployed, docker, instances, passing, project, snapshot
from tests.waiting import within

pytestmark = pytest.mark.timeout(900)
KEY = "billing_service/max_retries"


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with deployed(project(tmp_path, "docker-local", security="on", **HTTPS)) as made:
        yield made


def lose_the_server() -> None:
    docker("rm", "--force", SERVER, f"{SERVER}-carry")
    docker("volume", "rm", f"{SERVER}-data", f"{SERVER}-config")


def test_a_snapshot_brings_back_what_no_program_states_and_the_tokens_stay(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    management = stack.with_role("management")
    management.server._ask("PUT", f"/v1/kv/{KEY}", body={"retries": 3})
    tokens = stack.engine.outputs()["serviceTokens"]
    snapshot(stack, monkeypatch, "save", "--folder", str(tmp_path / "snapshots"))
    [file] = (tmp_path / "snapshots").glob("*.snap")
    lose_the_server()
    urns = [urn for urn in stack.engine.urns() if "::server-" in urn]
    stack.engine.up(refresh=True, target=urns)
    snapshot(stack, monkeypatch, "restore", str(file))
    up.deploy(stack)
    passing(stack)
    assert instances(stack) == all_40(stack)
    own_id = docker("exec", SERVER, "cat", "/consul/data/node-id")
    assert management.server.catalog_nodes()[SERVER]["ID"] == own_id
    assert management.server._ask("GET", f"/v1/kv/{KEY}")
    assert stack.engine.outputs()["serviceTokens"] == tokens


def test_without_a_snapshot_up_registers_all_again_with_new_tokens(stack: Stack) -> None:
    before = stack.engine.outputs()["serviceTokens"]
    lose_the_server()
    up.deploy(stack)
    again = stack.with_role("verify")  # which has the token of before no more
    within(90, lambda: instances(again) == all_40(again))
    passing(again)
    assert again.engine.outputs()["serviceTokens"] != before
