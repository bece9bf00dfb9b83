"""A stack whose agent joins a Consul that others secured, with what they hand over and with no right more."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from consul_cluster.client import Right
from consul_cluster.cluster_names import STAGING_NAMES
from consul_cluster.joining import node_rights, registration_rights
from operations.pulumi_engine import EngineError
from operations.stack import Stack
from operations.verify.report import report
from tests.docker.catalog_watch import watch_catalog
from tests.docker.conftest import (
    AGENT,
    CONSUL,
    REGISTRATIONS,
    SERVER,
    all_40,
    changes,
    docker,
    instances,
    passing,
    project,
    run_pulumi,
)
from tests.docker.others_cluster import OthersCluster, others_cluster
from tests.forty_services import forty_roster
from tests.waiting import within

pytestmark = pytest.mark.timeout(600)

OF_COMMANDS = [Right("service", "", "read"), Right("node", "", "read"), Right("agent", AGENT, "read")]
SAID: list[str] = []


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OthersCluster]:
    with others_cluster(tmp_path_factory.mktemp("others")) as made:
        yield made


def rights(registration: str) -> Sequence[Right]:
    return registration_rights(registration, forty_roster(), STAGING_NAMES, "staging-external")


def joining(
    folder: Path, cluster: OthersCluster, config: dict[str, object], secrets: dict[str, str], token: str
) -> Stack:
    """Return a stack with stand-ins that joins; its commands have a token that reads."""
    api = {"serverAddress": "https://127.0.0.1:8500", "clusterCaFile": cluster.ca_file, "standIns": True}
    stack = project(folder, "staging", **api, **config)
    file = folder / "Pulumi.staging.yaml"
    if not (folder / "pulumi" / "state" / ".pulumi").exists():
        (folder / "pulumi" / "state").mkdir(parents=True)
        run_pulumi(stack, "stack", "init")
    for key, value in {**secrets, "gossipKey": cluster.gossip_key}.items():
        run_pulumi(stack, "config", "set", "--secret", key, stdin=value)
    assert cluster.gossip_key not in file.read_text()
    assert set(yaml.safe_load(file.read_text())["config"]["consul-staging:gossipKey"]) == {"secure"}
    stack = replace(Stack.load("staging", folder, SAID.append), given_token=token)
    return replace(stack, engine=replace(stack.engine, folder=folder / "pulumi"))


@pytest.fixture(scope="module", params=[*REGISTRATIONS, "own certificate"])
def joined(
    request: pytest.FixtureRequest, cluster: OthersCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    own = request.param == "own certificate"
    registration = "agent" if own else request.param
    config: dict[str, object] = {"registration": registration}
    secrets = {
        "nodeToken": cluster.token(node_rights(STAGING_NAMES)),
        "agentToken": cluster.token(rights(registration)),
    }
    if own:
        config |= {"agentAddress": "https://127.0.0.1:8501", "agentCertificateFile": cluster.certificate_file}
        secrets["agentCertificateKey"] = cluster.certificate_key
    folder = tmp_path_factory.mktemp("joined")
    stack = joining(folder, cluster, config, secrets, cluster.token(OF_COMMANDS))
    try:
        changes(stack)
        passing(stack)
        yield stack
    finally:
        stack.engine.destroy()
    within(75, lambda: cluster.server.catalog_nodes().keys() == {SERVER})


def test_each_of_the_40_is_in_the_catalog_once_and_passes(joined: Stack) -> None:
    assert instances(joined) == all_40(joined)


def test_verify_finds_all_well(joined: Stack) -> None:
    assert [finding for verdict in report(joined).verdicts for finding in verdict.findings] == []


def test_a_second_up_changes_nothing(joined: Stack) -> None:
    assert changes(joined, refresh=True).keys() == {"same"}


def test_no_secret_is_in_plain_text_in_the_state(joined: Stack, cluster: OthersCluster) -> None:
    state = run_pulumi(joined, "stack", "export")
    assert joined.name in state
    assert cluster.gossip_key not in state
    assert "PRIVATE KEY" not in state


# Seconds in which a service has no passing instance while the agent is replaced: docs/registrations.md
MISSING = {"agent": 1, "catalog": 1, "files": 34}


def test_the_services_are_there_again_after_the_agent_is_replaced(joined: Stack, cluster: OthersCluster) -> None:
    docker("tag", CONSUL, f"{CONSUL}-again")
    file = Path(joined.engine.project) / "Pulumi.staging.yaml"
    file.write_text(file.read_text() + f"  consul-staging:consulImage: {CONSUL}-again\n")
    with watch_catalog(joined.roster, cluster.server) as seen:
        changes(joined)
    assert seen.twice == set()
    assert seen.missing < MISSING[joined.settings.registration]
    assert instances(joined) == all_40(joined)
    passing(joined)


def test_rights_that_are_missing_are_said_in_one_message_before_anything_is_created(
    cluster: OthersCluster, tmp_path: Path
) -> None:
    few = [right for right in rights("agent") if right.name != "billing_service"]
    secrets = {"nodeToken": cluster.token(OF_COMMANDS), "agentToken": cluster.token(few)}
    stack = joining(tmp_path, cluster, {}, secrets, cluster.management)
    before = docker("ps", "--all", "--quiet")
    SAID.clear()
    with pytest.raises(EngineError):
        changes(stack)
    said = "\n".join(SAID)
    assert f"nodeToken: lacks node:write on {AGENT}, agent:write on {AGENT}\n" in said
    assert "agentToken: lacks service:write on billing_service\n" in said
    assert "Traceback" not in said
    assert docker("ps", "--all", "--quiet") == before
