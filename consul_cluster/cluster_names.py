"""The names of a cluster and of its parts. The defaults are those that staging has in its deployment guide."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ClusterNames:
    """What a cluster's parts are called.

    Attributes:
        datacenter: Consul's, in which agent and server are.
        agent_node: the shared agent's node in the catalog.
        agent_container: its Docker container, which is also its name on the network.
        server_node: the server's node in the catalog.
        server_container: its Docker container.
        network: the Docker network that all containers are on.
        servers: the name on that network that several servers share; None: the one server has its own alone.
    """

    datacenter: str = "dc1"
    agent_node: str = "consul-agent-shared"
    agent_container: str = "consul-agent-shared"
    server_node: str = "staging-consul"
    server_container: str = "staging-consul"
    network: str = "staging_staging-network"
    servers: str | None = None

    @property
    def retry_join(self) -> str:
        """Where the servers are found on the network."""
        return self.servers or self.server_container


STAGING_NAMES = ClusterNames()
"""The names that a stack has unless it says otherwise."""
