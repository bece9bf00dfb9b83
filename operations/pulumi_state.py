"""What the state of a stack says: which services are deployed, and whether a run is at work."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from consul_cluster.drift import stated_fields

_PROVIDER = "pulumi:providers:consul"
_TYPE = "pulumi-python:dynamic/consul:AgentService"
_STACK, _SERVICE_OUTPUT = "pulumi:pulumi:Stack", "service/"


@dataclass(frozen=True)
class DeployedService:
    """A service as the last run of Pulumi deployed it.

    Attributes:
        agent: address of the API at which it was registered.
        owner: the owner that its meta names.
        fields: its fields, in the form of `consul_cluster.drift.read_service`.
    """

    agent: str
    owner: str
    fields: dict[str, Any]


@dataclass(frozen=True)
class DeployedState:
    """A state at one moment.

    Attributes:
        services: what is deployed over the agent's API, by service id.
        unfinished: whether a run is at work, or was interrupted: then this is not what is deployed.
        servers: address of each server's API that a Consul provider uses, and the authority behind its certificate.
        ids: of every service that it has, however that is registered.
    """

    services: Mapping[str, DeployedService]
    unfinished: bool
    servers: tuple[tuple[str, str | None], ...] = ()
    ids: frozenset[str] = frozenset()

    def without_agents(self, addresses: frozenset[str]) -> "DeployedState":
        """Return this state without what is deployed on the agents at some addresses."""
        return replace(self, services={key: each for key, each in self.services.items() if each.agent not in addresses})


def deployed_state(deployment: Mapping[str, Any]) -> DeployedState:
    """Return what an exported deployment says. Nothing in it has to be decrypted for this."""
    resources = deployment.get("resources", [])
    services = {
        resource["inputs"]["service_id"]: _service(resource["inputs"])
        for resource in resources
        if resource["type"] == _TYPE and not resource.get("delete")
    }
    servers = tuple(_server(each["inputs"]) for each in resources if each["type"] == _PROVIDER)
    ids = frozenset(service_id for resource in resources for service_id in _ids(resource))
    return DeployedState(services, bool(deployment.get("pending_operations")), servers, ids)


def _ids(resource: Mapping[str, Any]) -> Iterator[str]:
    """Yield the ids of the services that a resource has: one that it registers itself; all of them, as outputs."""
    inputs, outputs = (resource.get(key) or {} for key in ("inputs", "outputs"))
    yield from (inputs[key] for key in ("service_id", "serviceId") if key in inputs)
    if resource["type"] == _STACK:
        yield from (key.removeprefix(_SERVICE_OUTPUT) for key in outputs if key.startswith(_SERVICE_OUTPUT))


def _server(inputs: Mapping[str, Any]) -> tuple[str, str | None]:
    return f"{inputs['scheme']}://{inputs['address']}", inputs.get("caPem")


def _service(inputs: Mapping[str, Any]) -> DeployedService:
    return DeployedService(inputs["agent"], inputs["mark"], stated_fields(inputs))
