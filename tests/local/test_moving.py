"""Services move between the agents of two hosts, as clients see it meanwhile."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import toolchain
from components.consul_connection import Connection
from components.registration.moving import HostAgent, Moving
from consul_cluster.client import Consul, is_maintenance
from consul_cluster.ownership import roster_with_owner
from services.consul_definition import definition, register_request
from services.model import Service
from services.roster import Roster
from tests.event_loop import run_to_end
from tests.local.fleet import Fleet, node
from tests.maintenance import maintain
from tests.polling import polling
from tests.waiting import within

pytestmark = pytest.mark.alone  # it counts how often it looked

OWNER = "pulumi/consul-staging/test/registration"
TURNS = 20


@pytest.fixture(name="fleet")
def _fleet(tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(toolchain.consul(), tmp_path, agents=2, each=3)
    with fleet.running():
        yield fleet


def found(fleet: Fleet, service: Service) -> list[tuple[str, bool, set[str]]]:
    """Of each instance: its node, whether it is in maintenance, and what else its checks find."""

    def of(instance: Mapping[str, Any]) -> tuple[str, bool, set[str]]:
        checks = [check for check in instance["Checks"] if check["ServiceID"]]
        run = {check["Status"] for check in checks if not is_maintenance(check["CheckID"])}
        return instance["Node"]["Node"], any(is_maintenance(check["CheckID"]) for check in checks), run

    return [of(instance) for instance in fleet.server.instances(service.name, service.id)]


def moving(fleet: Fleet, rosters: Mapping[str, Roster]) -> Moving:
    agents = [HostAgent(node(at), Connection(f"http://{at}:8500"), roster) for at, roster in rosters.items()]
    return Moving(agents, Connection(fleet.server.address), "pulumi/consul-staging/test/")


def all_pass(fleet: Fleet, services: Sequence[Service]) -> bool:
    return all(found(fleet, service)[0][2] == {"passing"} for service in services)


def test_a_service_that_moves_is_found_once_at_every_look_with_its_status_and_its_maintenance(fleet: Fleet) -> None:
    first, second = fleet.rosters
    services, nothing = fleet.rosters[first].services, Roster(services=())
    for service in roster_with_owner(fleet.rosters[first], OWNER).services:
        Consul(f"http://{first}:8500").register(register_request(definition(service)))
    maintain(f"http://{first}:8500", services[0].id, "a new disk")
    within(60, lambda: all(found(fleet, service) for service in services) and all_pass(fleet, services))

    def look() -> None:
        for service in services:
            [(_, maintenance, run)] = found(fleet, service)
            assert (maintenance, run) == (service is services[0], {"passing"})

    with polling(look, 0.005, at_least=20):
        for turn in range(TURNS):
            at, other = (second, first) if turn % 2 == 0 else (first, second)
            run_to_end(moving(fleet, {at: fleet.rosters[first], other: nothing}).move(OWNER))
            assert {found(fleet, service)[0][0] for service in services} == {node(at)}
            assert Consul(f"http://{other}:8500").all_services() == {}

    maintain(f"http://{first}:8500", services[0].id, None)  # where they are after an even number of turns
    within(60, lambda: found(fleet, services[0]) == [(node(first), False, {"passing"})])
