"""Stand-ins of the services: one process for each, or for all that share an address, as the roster states them."""

import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from operations.sandbox import stand_in_program
from operations.sandbox.processes import BackgroundProcess
from services.checks import HttpCheck, TtlCheck
from services.model import Service
from services.roster import Roster

# One that answers gRPC answers a TCP check too, and so does one that answers HTTP.
_BY_ABILITY = ("tcp", "http", "grpc")
_REPORTS_PER_TTL = 3


@dataclass(frozen=True)
class StandIn:
    """What stands in for some services.

    Attributes:
        process: that runs.
        addresses: host and port of each that it listens on.
    """

    process: BackgroundProcess
    addresses: Sequence[tuple[str, int]]


def stand_ins(roster: Roster, agent: str, folder: Path) -> dict[str, StandIn]:
    """Return the stand-in of each service, by the service's id. Services at one address have the same.

    Args:
        roster: the services.
        agent: address of the agent's API, to which those with a TTL check report.
        folder: of the processes' records and logs.
    """
    together: dict[str, list[Service]] = {}
    for service in roster.services:
        together.setdefault(service.address if service.port else service.id, []).append(service)
    found, names = dict[str, StandIn](), set[str]()
    for services in together.values():
        first = services[0]
        name = first.id if first.container in names else first.container
        names.add(name)
        stand_in = _stand_in(name, services, agent, folder)
        found |= {service.id: stand_in for service in services}
    return found


def _stand_in(name: str, services: Sequence[Service], agent: str, folder: Path) -> StandIn:
    host, ports = services[0].host, _ports(services)
    reports = [
        (check.id, check.ttl.total_seconds() / _REPORTS_PER_TTL)
        for service in services
        for check in service.checks
        if isinstance(check, TtlCheck)
    ]
    task = {"host": host, "ports": [(port, *ports[port]) for port in ports], "agent": agent, "reports": reports}
    speaks_grpc = any(kind == "grpc" for kind, _ in ports.values())
    options = () if speaks_grpc else ("-S",)  # without site-packages, which have grpcio, Python starts faster
    command = (sys.executable, *options, stand_in_program.__file__, json.dumps(task))
    return StandIn(BackgroundProcess(name, command, folder), [(host, port) for port in ports])


def _ports(services: Sequence[Service]) -> dict[int, tuple[str, list[str]]]:
    """Return what is spoken on each port, and the paths that are answered over HTTP."""
    kinds, paths = defaultdict[int, set[str]](set), defaultdict[int, set[str]](set)
    for service in services:
        if service.port:
            kinds[service.port].add("tcp")
        for check in service.checks:
            if not isinstance(check, TtlCheck) and (port := check.port or service.port):
                kinds[port].add(check.kind)
                paths[port] |= {check.path} if isinstance(check, HttpCheck) else set()
    return {port: (max(spoken, key=_BY_ABILITY.index), sorted(paths[port])) for port, spoken in kinds.items()}
