"""What to do about a finding."""

import json
from collections.abc import Mapping

from consul_cluster.client import NO_SERVERS
from operations.command_line import COMMANDS
from operations.host_maintenance import DRAINED_BY
from operations.stack import Stack, StackHost
from operations.verify.observed_state import Fields, Place
from services.model import Service


def deploy(stack: Stack) -> str:
    """Have the stack deployed as it is stated."""
    if stack.settings.trial:
        return f"make up STACK={stack.name}"
    return f"pulumi up --stack {stack.name}"


def start(stack: Stack, service: Service) -> str:
    """Have a service answer its check."""
    if stack.settings.sandbox:
        return f"make start-service SERVICE={service.id} STACK={stack.name}"
    return f"{_on(stack.host_of(service))}docker start {service.container}, and see docker logs {service.container}"


def adopt(stack: Stack) -> str:
    """Have the stack own what another party wrote."""
    return f"add {stack.project}:adopt: true to Pulumi.{stack.name}.yaml, and {deploy(stack)}"


def register_again(stack: Stack, service: Service) -> str:
    """Have a service registered as it was deployed: with `agent` and `files`, what was edited since is not deployed."""
    if stack.settings.registration == "agent":
        return f"make heal STACK={stack.name}"
    return _consul(stack.host_of(service), "reload") if stack.settings.registration == "files" else deploy(stack)


def end_maintenance(stack: Stack, node: str, check: Fields) -> str:
    """Have clients find a node, or one of its services, again, whose maintenance is a check."""
    service_id, reason = check["ServiceID"], check["Notes"]
    if reason.startswith(DRAINED_BY):
        return f"{COMMANDS} return-host {reason.removeprefix(DRAINED_BY)} --stack {stack.name}"
    host = next((host for host in stack.hosts if host.docker.names.agent_node == node), None)
    if not host:  # no agent keeps it: it is in the catalog alone
        return _from_catalog(stack, {"Node": node, "CheckID": check["CheckID"]})
    disable = f"-disable -service={service_id}" if service_id else "-disable"
    if stack.settings.docker:
        return _consul(host, f"maint {disable}")
    return f"consul maint -http-addr={host.docker.agent_address} {disable}"


def _consul(host: StackHost, command: str) -> str:
    return f"{_on(host)}docker exec -e CONSUL_HTTP_TOKEN {host.docker.names.agent_container} consul {command}"


def _on(host: StackHost) -> str:
    return f"on {host.docker.name}: " if host.docker.name else ""


def run_consul(stack: Stack, node: str) -> str:
    """Have one of Consul's own processes run."""
    if stack.settings.trial:
        return deploy(stack)
    if stack.settings.docker:
        for host in stack.hosts:
            names = host.docker.names
            containers = {names.agent_node: names.agent_container}
            if host.docker.server_address or not host.docker.name:
                containers[names.server_node] = names.server_container
            if container := containers.get(node):
                members = f"docker exec {names.agent_container} consul members"
                return f"{_on(host)}docker start {container}, and see docker logs {container}; then {members}"
        return f"docker start {node}, and see docker logs {node}"
    return f"start Consul's process {node} there"


def answer(stack: Stack, address: str, why: str) -> str:
    """Have an API answer that did not, or whose answer was a refusal."""
    if NO_SERVERS in why:
        host = next((host for host in stack.hosts if host.docker.agent_address == address), stack.hosts[0])
        restart = (
            f"{_on(host)}docker restart {host.docker.names.agent_container}" if stack.settings.docker else "restart it"
        )
        return f"{deploy(stack)} has the agent look for the servers; where Consul asks for tokens, {restart}"
    token = "unset CONSUL_HTTP_TOKEN, or set another one" if stack.given_token else "set CONSUL_HTTP_TOKEN"
    return (
        f"see that {address} is right in Pulumi.{stack.name}.yaml, and that Consul runs there: "
        f"{run_consul(stack, _node_at(stack, address))}. Of a 403: {token}"
    )


def _node_at(stack: Stack, address: str) -> str:
    """Return the node whose API has an address; the first agent's, where none has."""
    apis = {**stack.servers, **stack.agents}
    first = stack.hosts[0].docker.names.agent_node
    return next((node for node, api in apis.items() if api.address == address), first)


def _put(stack: Stack) -> str:
    if stack.settings.stage == "off":
        return "curl -X PUT"
    return 'curl -X PUT --cacert stack-ca.pem -H "X-Consul-Token: $CONSUL_HTTP_TOKEN"'  # both from the stack's outputs


def _from_catalog(stack: Stack, what: Mapping[str, str]) -> str:
    return f"{_put(stack)} -d '{json.dumps(what)}' {stack.server.address}/v1/catalog/deregister"


def deregister(stack: Stack, place: Place, dead: bool) -> str:
    """Have an instance that is not ours removed; of a dead node, the node with all of its."""
    if dead:
        return _from_catalog(stack, {"Node": place.node})
    apis = {**stack.agents, **stack.servers}
    if api := apis.get(place.node):
        return f"{_put(stack)} {api.address}/v1/agent/service/deregister/{place.id}"
    return f"on {place.node}: consul services deregister -id={place.id}"


def without_self_registration(service: Service) -> str:
    """Have a service not register itself any more, so that it does not remove the stack's registration either."""
    return f"deploy a release of {service.container} that does not register itself"


def take_over(stack: Stack, service: Service) -> str:
    """Have the stack get an id back that another party holds."""
    remove = deregister(stack, Place(stack.node_of(service), service.id), dead=False)
    return f"then {remove}, and {deploy(stack)}"
