"""What to do about a finding."""

from operations.stack import Stack
from operations.verify.observed_state import Place
from services.model import Service


def deploy(stack: Stack) -> str:
    """Have the stack deployed as it is stated."""
    if stack.settings.trial:
        return f"make up STACK={stack.name}"
    return f"pulumi up --stack {stack.name}"


def start(stack: Stack, service: Service) -> str:
    """Have a service answer its check."""
    if stack.settings.sandbox:
        return f"make start-service SERVICE={service.id}"
    return f"docker start {service.container}, and see docker logs {service.container}"


def run_consul(stack: Stack, node: str) -> str:
    """Have one of Consul's own processes run."""
    if stack.settings.docker:
        names = stack.names
        container = {names.agent_node: names.agent_container, names.server_node: names.server_container}.get(node, node)
        members = f"docker exec {names.agent_container} consul members"
        return f"docker start {container}, and see docker logs {container}; then {members}"
    return deploy(stack) if stack.settings.sandbox else f"start Consul's process {node} there"


def answer(stack: Stack, address: str) -> str:
    """Have an API answer."""
    return (
        f"see that {address} is right in Pulumi.{stack.name}.yaml, and that Consul runs there: "
        f"{run_consul(stack, stack.names.agent_node)}. Of a 403: set CONSUL_HTTP_TOKEN"
    )


def _put(stack: Stack) -> str:
    if stack.settings.stage == "off":
        return "curl -X PUT"
    return 'curl -X PUT --cacert ca.pem -H "X-Consul-Token: $CONSUL_HTTP_TOKEN"'  # both from the stack's outputs


def deregister(stack: Stack, place: Place, dead: bool) -> str:
    """Have an instance that is not ours removed; of a dead node, the node with all of its."""
    if dead:
        return f"""{_put(stack)} -d '{{"Node": "{place.node}"}}' {stack.server.address}/v1/catalog/deregister"""
    apis = {stack.names.agent_node: stack.agent, stack.names.server_node: stack.server}
    if api := apis.get(place.node):
        return f"{_put(stack)} {api.address}/v1/agent/service/deregister/{place.id}"
    return f"on {place.node}: consul services deregister -id={place.id}"


def without_self_registration(service: Service) -> str:
    """Have a service not register itself any more, so that it does not remove the stack's registration either."""
    return f"deploy a release of {service.container} that does not register itself"


def take_over(stack: Stack, service: Service) -> str:
    """Have the stack get an id back that another party holds."""
    remove = deregister(stack, Place(stack.node, service.id), dead=False)
    return f"then {remove}, and {deploy(stack)}"
