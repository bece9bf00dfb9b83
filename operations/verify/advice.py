"""What to do about a finding (guide, "Troubleshooting")."""

from cluster.agent_configuration import AGENT_NODE, SERVER_NODE
from operations.target import Target
from operations.verify.snapshot import Place
from services.model import Service


def deploy(target: Target) -> str:
    """Have the stack deployed as it is stated."""
    if target.stack.endswith("local"):
        return f"make up STACK={target.stack}"
    return f"pulumi up --stack {target.stack} --refresh"


def start(target: Target, service: Service) -> str:
    """Have a service answer its check."""
    if target.settings.docker:
        return f"docker start {service.container}, and see docker logs {service.container}"
    return f"make start SERVICE={service.name}"


def run_consul(target: Target, node: str) -> str:
    """Have one of Consul's own processes run."""
    if target.settings.docker:
        return f"docker start {node}, and see docker logs {node}; then docker exec {AGENT_NODE} consul members"
    return deploy(target)


def answer(target: Target, address: str) -> str:
    """Have an API answer."""
    return (
        f"see that {address} is right in Pulumi.{target.stack}.yaml, and that Consul runs there: "
        f"{run_consul(target, AGENT_NODE)}. Of a 403: set CONSUL_HTTP_TOKEN"
    )


def _put(target: Target) -> str:
    if target.settings.stage == "off":
        return "curl -X PUT"
    return 'curl -X PUT --cacert ca.pem -H "X-Consul-Token: $CONSUL_HTTP_TOKEN"'  # both from the stack's outputs


def deregister(target: Target, place: Place, dead: bool) -> str:
    """Have an instance that is not ours removed; of a dead node, the node with all of its."""
    if dead:
        return f"""{_put(target)} -d '{{"Node": "{place.node}"}}' {target.server.address}/v1/catalog/deregister"""
    apis = {AGENT_NODE: target.agent, SERVER_NODE: target.server}
    if api := apis.get(place.node):
        return f"{_put(target)} {api.address}/v1/agent/service/deregister/{place.id}"
    return f"on {place.node}: consul services deregister -id={place.id}"
