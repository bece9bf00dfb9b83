"""One round of `heal`: what the last `pulumi up` deployed and the agent has no more is registered again.

What somebody has changed is reported, and stays: who did that may have had a reason.
Compared first and field by field, as Nomad does: registering what is there already would restart its check's timer.
https://github.com/hashicorp/nomad/blob/main/command/agent/consul/service_client.go
"""

import logging
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from consul_cluster.client import Consul, ConsulError, NoAnswerError
from consul_cluster.cluster_names import STAGING_NAMES
from consul_cluster.drift import catalog_matches, read_services, recognize, seconds_of_one_run, stated_fields
from consul_cluster.ownership import definition_files_owner, without_owner
from operations.pulumi_engine import Engine
from operations.pulumi_state import DeployedService, DeployedState
from services.consul_definition import definition, register_request
from services.field_types import OWNER_KEY
from services.roster import Roster
from waiting import wait_until

# The agent hands a registration to the servers within milliseconds, or after a retry when it has just lost them.
_CATALOG_SECONDS = 10

# Registered again, it would be gone at the next start of the service: nobody is to fight for ever.
_DISPLACED = (
    "the service registers itself, and removes other registrations of its name and port. Deploy a release of it that "
    "does not, then {deploy}"
)

_BUSY = "a run of pulumi is at work on the stack, or was broken off: nothing is written until one has completed"

log = logging.getLogger("heal")

Fields = dict[str, Any]


@dataclass
class Round:
    """What one round came to.

    Attributes:
        written: ids that were registered again.
        waiting: ids that differ, but not yet for as long as a run of their checks takes, or that a run has touched.
        troubles: what keeps something from being as it was deployed, a line each.
        notices: what a person should know all the same, a line each.
        busy: a run of pulumi is at work, or was broken off; it is one of the troubles.
    """

    written: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    busy: bool = False


@dataclass
class Reconciler:
    """Keeps what is deployed on one agent.

    Attributes:
        roster: what this clone states, deployed or not: never written, only compared.
        agent: where the services are registered.
        node: the agent's.
        engine: reads the state, which says what is deployed: nothing else is ever written.
        server_node: of the server, on which an interrupted run leaves services.
        others: addresses of the stack's other agents, whose services are theirs to keep.
        deploy: how a person deploys the stack.
    """

    roster: Roster
    agent: Consul
    node: str
    engine: Engine
    server_node: str = STAGING_NAMES.server_node
    others: frozenset[str] = frozenset()
    deploy: str = "pulumi up"
    _deployed: DeployedState | None = None
    _differing: dict[str, tuple[Fields, float]] = field(default_factory=dict)
    _unconfirmed: dict[str, Fields] = field(default_factory=dict)
    _logged: set[str] = field(default_factory=set)

    def round(self) -> Round:
        """Look, and write where that is called for.

        The agent is read before the state: what it lacks by then cannot be what a run began to remove after that.

        Raises:
            ConsulError: the agent does not answer.
            operations.pulumi_engine.EngineError: the state cannot be read.
        """
        found, result = read_services(self.agent), Round()
        if not self._as_known(found):
            self._look_closer(found, result)
        self._confirm(result)
        lines = {*result.troubles, *result.notices}
        for line in sorted(lines - self._logged):
            log.warning(line)
        self._logged = lines
        return result

    def _as_known(self, found: Mapping[str, Fields]) -> bool:
        """Whether all is as the roster states it and as it was last seen deployed: then the state need not be read."""
        if self._deployed is None:
            return False
        stated = _stated(self.roster)
        deployed = {key: one.fields for key, one in self._deployed.services.items()}
        return all(_without_owner(_recognized(found, key, fields)) == fields for key, fields in stated.items()) and all(
            _recognized(found, key, fields) == fields for key, fields in deployed.items()
        )

    def _look_closer(self, found: Mapping[str, Fields], result: Round) -> None:
        deployed = None if self.engine.locked else self.engine.deployed_state().without_agents(self.others)
        if deployed is None or deployed.unfinished:
            result.busy = True
            result.troubles.append(_BUSY)
            return
        self._deployed = deployed
        drained = self._drained(deployed, deployed.services.keys() - found.keys())
        result.troubles.extend(
            f"{service_id} is on {self.server_node} since an up was interrupted, and checked there: {self.deploy} "
            "moves it back"
            for service_id in drained
        )
        result.notices.extend(_undeployed(self.roster, deployed, self.deploy))
        others = without_owner(found)
        for service_id in deployed.services.keys() - drained:
            one = deployed.services[service_id]
            place = one.fields["name"], one.fields["port"]
            if service_id not in found and (by := others.get(place)):
                result.troubles.append(
                    f"{service_id} is gone, and {by} stands in its place: {_DISPLACED.format(deploy=self.deploy)}"
                )
                continue
            self._compare(service_id, one, _recognized(found, service_id, one.fields), result)

    def _drained(self, deployed: DeployedState, gone: Collection[str]) -> set[str]:
        """Return which services that the agent has not are on the server: an interrupted `up` left them there."""
        with suppress(ConsulError):  # the servers may be away, and the agent still takes a service
            on_server = self.agent.node_services(self.server_node) if gone else {}
            owners = {key: each["Meta"].get(OWNER_KEY) for key, each in on_server.items()}
            return {key for key in gone if owners.get(key) == deployed.services[key].owner}
        return set()

    def _compare(self, service_id: str, one: DeployedService, found: Fields | None, result: Round) -> None:
        if one.agent != self.agent.address:
            result.troubles.append(
                f"{service_id} is deployed on {one.agent}, not on {self.agent.address}: {self.deploy}"
            )
        elif found and (owner := found["meta"].get(OWNER_KEY)) not in (one.owner, definition_files_owner(one.owner)):
            holder = owner or "another party, such as the service itself"
            result.troubles.append(f"{service_id} is held by {holder}: it is left alone")
        elif found is None:
            self._write(service_id, one, result)
        elif found == one.fields:
            self._differing.pop(service_id, None)
        elif self._stands(service_id, one, found):
            changed = ", ".join(key for key in one.fields | found if found.get(key) != one.fields.get(key))
            result.troubles.append(
                f"{service_id} has other {changed} than deployed, and stays so: {self.deploy} undoes it"
            )
        else:
            result.waiting.append(service_id)

    def _stands(self, service_id: str, one: DeployedService, found: Fields) -> bool:
        """Whether a service has differed in the same way for as long as its checks take to run once.

        Until then the agent shows, of a check that was just changed, the output of before.
        """
        seen, since = self._differing.get(service_id, ({}, 0.0))
        if seen != found:
            self._differing[service_id] = found, time.monotonic()
            return False
        return time.monotonic() - since >= _seconds_of_one_run(one.fields)

    def _write(self, service_id: str, one: DeployedService, result: Round) -> None:
        """Register a service that is gone, if nobody has done so since it was looked for."""
        try:
            if self.engine.locked or self.agent.service(service_id):
                result.waiting.append(service_id)
                return
            self.agent.register(register_request({"id": service_id, **one.fields}))
        except NoAnswerError:
            raise
        except ConsulError as error:
            result.troubles.append(f"{service_id} is not registered: {error}")
            return
        self._differing.pop(service_id, None)
        result.written.append(service_id)
        self._unconfirmed[service_id] = one.fields
        log.info(
            f"{service_id}: registered as deployed; it was gone. If it is down, start it, or Consul removes it again"
        )

    def _confirm(self, result: Round) -> None:
        """See the servers hold what was written, in this round or before: an agent answers 200 to what they refuse."""
        if self._unconfirmed and not wait_until(self._is_confirmed, _CATALOG_SECONDS):
            missing = ", ".join(self._unconfirmed)
            result.troubles.append(
                f"the servers do not show {missing} as registered: the token may lack service:write, or the agent has "
                "lost them; its log says which"
            )

    def _is_confirmed(self) -> bool:
        self._unconfirmed = {key: self._unconfirmed[key] for key in self._not_in_catalog(self._unconfirmed)}
        return not self._unconfirmed

    def _not_in_catalog(self, written: Mapping[str, Fields]) -> list[str]:
        try:
            services, checks = self.agent.node_services(self.node), self.agent.node_checks(self.node)
        except ConsulError:  # the servers are away
            return list(written)
        entries = {
            key: {"Service": service, "Checks": [check for check in checks if check["ServiceID"] == key]}
            for key, service in services.items()
        }
        return [key for key, fields in written.items() if not catalog_matches(entries.get(key), fields)]


def _undeployed(roster: Roster, deployed: DeployedState, deploy: str) -> Iterator[str]:
    """Yield a line on what the roster states and no run has deployed."""
    stated = _stated(roster)
    deployed_now = {key: _without_owner(one.fields) for key, one in deployed.services.items()}
    differing = sorted(key for key in stated.keys() | deployed_now.keys() if stated.get(key) != deployed_now.get(key))
    if differing:
        yield f"the roster differs from what is deployed ({', '.join(differing)}), which stays: {deploy} deploys it"


def _recognized(found: Mapping[str, Fields], service_id: str, stated: Fields) -> Fields | None:
    return recognize(found[service_id], stated) if service_id in found else None


def _stated(roster: Roster) -> Mapping[str, Fields]:
    return {service.id: stated_fields(definition(service)) for service in roster.services}


def _without_owner(fields: Fields | None) -> Fields | None:
    return fields and {**fields, "meta": {key: text for key, text in fields["meta"].items() if key != OWNER_KEY}}


def _seconds_of_one_run(fields: Fields) -> float:
    return max(seconds_of_one_run(check) for check in fields["checks"].values())
