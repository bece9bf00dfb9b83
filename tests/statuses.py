"""The statuses of services in the catalog."""

from consul_cluster.client import Consul, NoAnswerError
from consul_cluster.cluster_names import STAGING_NAMES
from consul_cluster.health_status import service_statuses
from services.roster import Roster
from waiting import wait_until


def statuses(consul: Consul, roster: Roster, node: str = STAGING_NAMES.agent_node) -> dict[str, str]:
    """Return the status of each service on a node, by service id."""
    return service_statuses(consul.node_checks(node), roster)


def require_passing(consul: Consul, roster: Roster, seconds: float = 30, node: str = STAGING_NAMES.agent_node) -> None:
    """Wait until every service passes, and fail if one does not in time."""

    def others() -> dict[str, str]:
        try:
            found = statuses(consul, roster, node)
        except NoAnswerError as error:  # it has just started
            return {"the servers": str(error)}
        return {key: status for key, status in found.items() if status != "passing"}

    assert wait_until(lambda: not others(), seconds, pause=0.5), others()
