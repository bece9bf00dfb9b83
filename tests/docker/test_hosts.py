"""One secured stack over three Docker hosts, with a server and an agent on each. The tests run in their order."""

import itertools
import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import typer

from consul_cluster.agent_configuration import server_config
from consul_cluster.client import Consul, ConsulError, UnknownTokenError, UntrustedError
from operations import down, up
from operations.drill.drill import drill_of
from operations.heal.heal import once, reconcilers_of
from operations.host_maintenance import drain_host, return_host
from operations.paths import ROOT
from operations.stack import Stack
from operations.verify.report import report
from services.roster import Roster
from tests.docker.catalog_watch import watch_catalog
from tests.docker.conftest import changes, failed_up, instances, run_pulumi, snapshot, urn_of
from tests.docker.hosts_lab import (
    PROGRAM,
    SERVICES,
    WHY_NOT,
    LabHost,
    healthy_voters,
    hosts_stack,
    lab,
    lab_hosts,
    leader,
    not_passing,
    placed,
)
from tests.docker.killed_runs import change_the_agent, killed_at
from tests.polling import polling
from tests.waiting import within
from waiting import wait_until

pytestmark = [pytest.mark.skipif(PROGRAM is None, reason=WHY_NOT), pytest.mark.timeout(900)]

ALL_SERVERS = {"staging-consul-h1", "staging-consul-h2", "staging-consul-h3"}
UNTOUCHED = 15  # seconds within which clients have to be right again after a host has failed


@pytest.fixture(scope="module")
def hosts() -> dict[str, LabHost]:
    return dict(lab_hosts())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hosts")


@pytest.fixture(scope="module")
def stack(hosts: dict[str, LabHost], folder: Path) -> Iterator[Stack]:
    stack = hosts_stack(folder, hosts)
    try:
        up.deploy(stack)
        yield stack
    finally:
        down.destroy(hosts_stack(folder, hosts))


def well_within(seconds: float, stack: Stack) -> None:
    """Wait until `verify` finds nothing, and fail with what it still finds."""

    def found() -> list[str]:
        try:
            return [str(verdict) for verdict in report(stack).verdicts if not verdict.well]
        except ConsulError as error:
            return [str(error)]

    wait_until(lambda: not found(), seconds)
    assert found() == []


def deploy(stack: Stack) -> None:
    up.deploy(stack)
    well_within(60, stack)
    assert instances(stack) == placed(stack)


def test_three_hosts_have_a_server_and_an_agent_each_and_every_service_is_on_its_own_hosts_node(stack: Stack) -> None:
    well_within(60, stack)
    assert instances(stack) == placed(stack)
    assert healthy_voters(stack) == ALL_SERVERS


def test_a_second_up_changes_nothing(stack: Stack) -> None:
    assert changes(stack, refresh=True).keys() == {"same"}


def test_a_service_that_moves_to_another_host_is_in_the_catalog_once_at_every_look(
    stack: Stack, hosts: dict[str, LabHost], folder: Path
) -> None:
    moved = {**SERVICES, "h3": ["billing_service"]}
    seen: list[int] = []
    with polling(lambda: seen.append(len(stack.server.instances("auth_service", "auth_service"))), 0.02):
        elsewhere = hosts_stack(folder, hosts, services=moved)
        deploy(elsewhere)
    assert len(seen) > 100
    assert set(seen) == {1}
    deploy(hosts_stack(folder, hosts))


def test_a_drill_of_a_service_on_another_host_keeps_its_promises(stack: Stack) -> None:
    steps = drill_of(stack, "billing_service", lambda _: None).run()
    assert [step for step in steps if not step.kept] == []
    well_within(60, stack)


def test_heal_registers_again_what_is_gone_from_the_agent_of_each_host(stack: Stack) -> None:
    agents = stack.with_role("removal").agents
    for host in stack.hosts:
        agents[host.node].deregister(host.roster.services[0].id)
    assert [once(reconciler, time.sleep) for reconciler in reconcilers_of(stack)] == [True, True, True]
    well_within(60, stack)
    assert instances(stack) == placed(stack)


def test_servers_are_replaced_one_at_a_time_and_the_catalog_always_answers(stack: Stack) -> None:
    answering: list[int] = []

    def look() -> None:  # autopilot says more, but calls a server unhealthy that a busy machine delays by 0.2 s
        answering.append(sum(server.answers() for server in stack.servers.values()))

    with other_servers(), polling(look, 0.2), watch_catalog(stack.roster, *stack.servers.values()) as watch:
        deploy(stack)
    assert (min(answering), watch.twice) == (2, set())
    assert watch.missing < 5
    assert healthy_voters(stack) == ALL_SERVERS
    deploy(stack)  # as the other tests state them: while a host is away, no server can be replaced


_intervals = itertools.count(7)


@contextmanager
def other_servers() -> Iterator[None]:
    """Have the program state other containers for the servers."""
    interval = f"{next(_intervals)}s"

    def another(*args: Any, **others: Any) -> dict[str, Any]:  # noqa: ANN401 - as they are given
        return {**server_config(*args, **others), "retry_interval": interval}

    with patch("components.consul_server.server_config", another):
        yield


def test_a_drained_host_can_be_stopped_and_returns(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    on_h3 = {service.id for service in stack.roster.services if stack.node_of(service).endswith("-h3")}
    monkeypatch.setattr(Stack, "load", lambda _: stack)
    drain_host("h3", stack.name)
    assert set(not_passing(stack)) == on_h3
    assert leader(stack) != "staging-consul-h3"
    with pytest.raises(typer.Exit) as ended:
        return_host("h3", stack.name)
    assert (ended.value.exit_code, not_passing(stack)) == (0, [])


def test_of_a_host_that_is_cut_off_clients_find_nothing_and_of_the_others_everything(
    stack: Stack, hosts: dict[str, LabHost]
) -> None:
    on_h3 = {service.id for service in stack.roster.services if stack.node_of(service).endswith("-h3")}
    lab("cut", "3")
    try:
        within(UNTOUCHED, lambda: set(not_passing(stack)) == on_h3)
        api = stack.with_role("management").server
        api.register_in_catalog({"Node": "written", "Address": "10.0.0.1"})
        api.deregister_node("written")
        assert set(not_passing(stack)) == on_h3
    finally:
        lab("mend", "3")
    well_within(90, stack)


def test_where_the_leaders_host_dies_another_leads_and_the_services_of_the_others_stay(
    stack: Stack, hosts: dict[str, LabHost]
) -> None:
    died = leader(stack)
    name = died.rpartition("-")[2]
    on_it = {service.id for service in stack.roster.services if stack.node_of(service).endswith(f"-{name}")}
    client = next(server for node, server in stack.servers.items() if node != died)
    before = client.leader()
    lab("kill", name.removeprefix("h"))
    try:
        within(UNTOUCHED, lambda: client.leader() not in ("", before))
        within(UNTOUCHED, lambda: set(not_passing(stack, client)) == on_it)
    finally:
        lab("up", "3")
    well_within(120, stack)
    within(60, lambda: healthy_voters(stack) == ALL_SERVERS)  # autopilot looks at a server for 10 s first


def tagged(stack: Stack, tag: str) -> set[str]:
    """Return the ids of the services that have a tag in the catalog."""
    found = (stack.server.instances(service.name, service.id) for service in stack.roster.services)
    return {entry["Service"]["ID"] for entries in found for entry in entries if tag in entry["Service"]["Tags"]}


def test_while_a_host_is_away_the_others_are_deployed_and_its_own_services_stay_as_they_were(
    stack: Stack, hosts: dict[str, LabHost], folder: Path
) -> None:
    changed = hosts_stack(folder, hosts, environment="changed")
    every_service = {service.id for service in stack.roster.services}
    lab("kill", "3")
    try:
        changed.engine.up(exclude=["**-h3", "**-h3-*"])
        assert tagged(changed, "changed") == every_service - set(SERVICES["h3"])
        assert instances(changed) == placed(changed)
    finally:
        lab("up", "3")
    within(120, lambda: healthy_voters(stack) == ALL_SERVERS)
    deploy(changed)
    assert tagged(changed, "changed") == every_service
    deploy(hosts_stack(folder, hosts))


def test_while_the_host_of_the_addresses_is_away_the_others_are_deployed_by_those_of_another_host(
    stack: Stack, hosts: dict[str, LabHost], folder: Path
) -> None:
    changed = hosts_stack(folder, hosts, environment="changed", asked="h2")
    on_h1 = {service.id for service in stack.roster.services if stack.node_of(service).endswith("-h1")}
    lab("kill", "1")
    try:
        changed.engine.up(exclude=["**-h1", "**-h1-*"], run_program=True)
        assert tagged(changed, "changed") == {service.id for service in stack.roster.services} - on_h1
    finally:
        lab("up", "3")
    within(120, lambda: healthy_voters(changed) == ALL_SERVERS)
    deploy(hosts_stack(folder, hosts))


def test_a_host_whose_containers_and_volumes_are_lost_is_deployed_again(
    stack: Stack, hosts: dict[str, LabHost]
) -> None:
    others = Roster(services=tuple(each for each in stack.roster.services if each.id not in SERVICES["h3"]))
    with watch_catalog(others, *stack.servers.values()) as watch:
        remove_all(hosts["h3"])
        deploy(stack)
    assert (watch.twice, watch.missing < 5) == (set(), True)
    within(60, lambda: healthy_voters(stack) == ALL_SERVERS)


@pytest.mark.parametrize(
    "step",
    [
        "server-h3-container deleted original",
        "server-h3-container replaced",
        "server-h1-container replaced",
        "agent-h2-container deleted original",
        "agent-h2-container replaced",
    ],
)
def test_what_was_killed_on_one_host_the_next_up_completes(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    change_the_agent(monkeypatch)
    with other_servers(), watch_catalog(stack.roster, *stack.servers.values()) as watch:
        killed_at(step, None, stack)
        deploy(stack)
    assert (watch.twice, watch.missing < 5) == (set(), True)
    within(60, lambda: healthy_voters(stack) == ALL_SERVERS)


def test_from_three_servers_to_one_and_back_no_service_is_absent_for_long(
    stack: Stack, hosts: dict[str, LabHost], folder: Path
) -> None:
    single = hosts_stack(folder, hosts, servers=("h1",))
    with watch_catalog(stack.roster, stack.servers["staging-consul-h1"]) as watch:
        deploy(single)
    assert healthy_voters(single) == {"staging-consul-h1"}
    with watch_catalog(stack.roster, *stack.servers.values()) as back:
        deploy(hosts_stack(folder, hosts))
    assert healthy_voters(stack) == ALL_SERVERS
    assert (watch.twice, back.twice, back.missing < 5) == (set(), set(), True)


def test_a_host_is_removed_when_its_services_have_moved_and_added_again(
    stack: Stack, hosts: dict[str, LabHost], folder: Path
) -> None:
    two = {name: host for name, host in hosts.items() if name != "h3"}
    server, smaller = stack.servers["staging-consul-h1"], hosts_stack(folder, two, servers=("h1",))
    with watch_catalog(stack.roster, server) as moving:
        deploy(hosts_stack(folder, hosts, services={**SERVICES, "h3": []}))
    with watch_catalog(stack.roster, server) as removing:
        deploy(hosts_stack(folder, two, servers=("h1",)))
    assert (hosts["h3"].ours, healthy_voters(smaller)) == ("", {"staging-consul-h1"})
    with watch_catalog(stack.roster, server) as adding:
        deploy(hosts_stack(folder, hosts))
    assert (moving.twice, removing.twice, adding.twice) == (set(), set(), set())
    assert max(moving.missing, removing.missing, adding.missing) < 5
    within(60, lambda: healthy_voters(stack) == ALL_SERVERS)


def test_with_definition_files_each_agent_reads_those_of_its_own_host(
    stack: Stack, hosts: dict[str, LabHost], folder: Path
) -> None:
    files = hosts_stack(folder, hosts, registration="files")
    deploy(files)
    found = hosts["h3"].docker("exec", "consul-agent-h3", "cat", "/consul/config/services/user-services.json")
    assert {each["id"] for each in json.loads(found)["services"]} == set(SERVICES["h3"])
    deploy(hosts_stack(folder, hosts))


def test_the_gossip_key_is_replaced_with_one_up(stack: Stack) -> None:
    with watch_catalog(stack.roster, *stack.servers.values()) as watch:
        assert changes(stack, replace=[urn_of(stack, "keys-gossip")])["replace"] > 1
        well_within(60, stack)
    assert (watch.twice, watch.missing < 5) == (set(), True)
    assert healthy_voters(stack) == ALL_SERVERS


@pytest.mark.parametrize("key", ["keys-management", "keys-authority-key"])
def test_a_key_that_is_replaced_at_once_is_refused_before_a_server_is_replaced_and_the_state_of_before_mends_it(
    stack: Stack, hosts: dict[str, LabHost], folder: Path, key: str
) -> None:
    before = run_pulumi(stack, "stack", "export")
    with watch_catalog(stack.roster, *stack.servers.values()) as watch:
        assert "and replace it in steps" in failed_up(stack, replace=[urn_of(stack, key)])
        run_pulumi(stack, "stack", "import", stdin=before)
        deploy(hosts_stack(folder, hosts))  # writes the configuration of before again
    assert changes(hosts_stack(folder, hosts)).keys() == {"same"}
    assert (watch.twice, watch.missing < 5) == (set(), True)
    assert healthy_voters(stack) == ALL_SERVERS


@pytest.mark.usefixtures("stack")
def test_the_authority_is_replaced_in_three_steps_and_who_trusts_both_reaches_every_server_and_agent(
    hosts: dict[str, LabHost], folder: Path
) -> None:
    first = hosts_stack(folder, hosts, authorities=["1", "2"])
    with watch_catalog(first.roster, first.servers["staging-consul-h1"]) as watch:
        deploy(first)
    assert (watch.twice, watch.missing < 5) == (set(), True)
    answers, distrusted = dict[str, int](), list[str]()
    both = hosts_stack(folder, hosts, authorities=["1", "2"])  # reads the certificates of both
    clients = {**both.servers, **both.agents}

    def ask() -> None:
        for node, client in clients.items():
            try:
                client.leader()
                answers[node] = answers.get(node, 0) + 1
            except UntrustedError:
                distrusted.append(node)
            except ConsulError:  # it is being replaced
                pass

    for authorities in (["2", "1"], ["2"]):
        step = hosts_stack(folder, hosts, authorities=authorities)
        with watch_catalog(step.roster, step.servers["staging-consul-h1"]) as watch, polling(ask, 0.1):
            deploy(step)
        assert (watch.twice, watch.missing < 5) == (set(), True)
        assert healthy_voters(step) == ALL_SERVERS
    assert (distrusted, set(answers)) == ([], set(clients))
    in_one_step = failed_up(hosts_stack(folder, hosts))
    assert "authorities: nodes that have the certificates of ['1'] would not trust" in in_one_step


@pytest.mark.usefixtures("stack")
def test_the_management_token_is_replaced_in_two_steps(hosts: dict[str, LabHost], folder: Path) -> None:
    before = hosts_stack(folder, hosts, authorities=["2"])
    old = before.with_role("management").server
    for tokens in (["1", "2"], ["2"]):
        step = hosts_stack(folder, hosts, authorities=["2"], managementTokens=tokens)
        with watch_catalog(before.roster, *before.servers.values()) as watch:
            deploy(step)
        assert (watch.twice, watch.missing < 5) == (set(), True)
        assert healthy_voters(step) == ALL_SERVERS
    with pytest.raises(UnknownTokenError):
        old.own_accessor()


def test_after_the_state_was_lost_up_gives_the_running_cluster_new_keys(
    stack: Stack, hosts: dict[str, LabHost], folder: Path
) -> None:
    old = stack.engine.outputs()["tokens"]["verify"]
    stack.engine.forget()
    up.deploy(hosts_stack(folder, hosts))
    after = hosts_stack(folder, hosts)
    well_within(60, after)
    assert changes(after).keys() == {"same"}
    assert healthy_voters(after) == ALL_SERVERS
    with pytest.raises(UnknownTokenError):
        Consul(after.server.address, old, after.engine.outputs()["ca"]).own_accessor()


@pytest.mark.usefixtures("stack")
@pytest.mark.parametrize("with_a_snapshot", [True, False])
def test_after_all_servers_and_their_data_were_lost_up_creates_them_and_every_service_is_back(
    hosts: dict[str, LabHost],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    with_a_snapshot: bool,
) -> None:
    stack = hosts_stack(folder, hosts)  # with the keys of now
    tokens = stack.engine.outputs()["serviceTokens"]
    if with_a_snapshot:
        snapshot(stack, monkeypatch, "save", "--folder", str(folder / "snapshots"))
    for name, host in hosts.items():
        server = f"staging-consul-{name}"
        host.docker("rm", "--force", server, f"{server}-carry")
        host.docker("volume", "rm", f"{server}-data", f"{server}-config")
    if with_a_snapshot:
        stack.engine.up(refresh=True, target=[urn for urn in stack.engine.urns() if "::server-" in urn])
        [file] = (folder / "snapshots").glob("*.snap")
        snapshot(stack, monkeypatch, "restore", str(file))
    up.deploy(hosts_stack(folder, hosts))
    again = hosts_stack(folder, hosts)
    well_within(60, again)
    assert (healthy_voters(again), instances(again)) == (ALL_SERVERS, placed(again))
    assert (stack.engine.outputs()["serviceTokens"] == tokens) == with_a_snapshot


def remove_all(host: LabHost) -> None:
    """Remove a stack's containers and volumes from a host, as if its disk was erased."""
    host.docker("rm", "--force", *host.docker("ps", "--all", "--quiet").split())
    host.docker("volume", "rm", *host.docker("volume", "ls", "--quiet").split())


def take_out_of_the_state(stack: Stack) -> None:
    """Remove what is on h3 from the state, by the command of docs/hosts.md."""
    state = run_pulumi(stack, "stack", "export")
    [filter_] = re.findall(r"^jq '(.*)' state.json", (ROOT / "docs" / "hosts.md").read_text(), re.MULTILINE)
    rest = subprocess.run(("jq", filter_), input=state, capture_output=True, text=True, check=True)
    run_pulumi(stack, "stack", "import", stdin=rest.stdout)


@pytest.mark.usefixtures("stack")
def test_another_machine_takes_the_name_of_a_host_that_is_lost(hosts: dict[str, LabHost], folder: Path) -> None:
    h3, h4 = hosts["h3"], lab_hosts(4)["h4"]
    moved = hosts_stack(folder, {**hosts, "h3": replace(h4, name="h3")})
    h4.load(h3.saved("consul-staging/standin"))
    lab("kill", "3")
    try:
        take_out_of_the_state(moved)
        up.deploy(moved)
        well_within(90, moved)
        assert (instances(moved), healthy_voters(moved)) == (placed(moved), ALL_SERVERS)
    finally:
        lab("up", "4")
        remove_all(h3)
    lab("kill", "4")
    try:
        back = hosts_stack(folder, hosts)
        take_out_of_the_state(back)
        up.deploy(back)
        well_within(90, back)
    finally:
        lab("up", "4")
        remove_all(h4)


@pytest.mark.usefixtures("stack")
def test_a_host_that_is_lost_for_good_is_taken_out_of_the_state_and_its_services_go_to_another(
    hosts: dict[str, LabHost], folder: Path
) -> None:
    stack = hosts_stack(folder, hosts)  # with the keys of now
    two = {name: host for name, host in hosts.items() if name != "h3"}
    server, smaller = stack.servers["staging-consul-h1"], hosts_stack(folder, two, servers=("h1",))
    others = Roster(services=tuple(each for each in stack.roster.services if each.id not in SERVICES["h3"]))
    lab("kill", "3")
    try:
        with watch_catalog(others, server) as watch:
            take_out_of_the_state(stack)
            up.deploy(smaller)
            token = smaller.engine.outputs()["tokens"]["management"]
            consul = ("exec", "--env", f"CONSUL_HTTP_TOKEN={token}", "staging-consul-h1", "consul")
            if "consul-agent-h3" in hosts["h1"].docker(*consul, "members"):
                hosts["h1"].docker(*consul, "force-leave", "-prune", "consul-agent-h3")
            well_within(120, smaller)
        assert instances(smaller) == placed(smaller)
        assert healthy_voters(smaller) == {"staging-consul-h1"}
        assert (watch.twice, watch.missing < 5) == (set(), True)
    finally:
        lab("up", "3")
    remove_all(hosts["h3"])
    deploy(hosts_stack(folder, hosts))


def test_destroy_leaves_nothing_on_any_host(stack: Stack, hosts: dict[str, LabHost]) -> None:
    down.destroy(stack)
    assert {host.ours for host in hosts.values()} == {""}
