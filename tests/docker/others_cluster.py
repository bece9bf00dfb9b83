"""A Consul that others secured, with Consul's own commands: gossip encrypted, TLS for RPC and API, ACLs that deny."""

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import toolchain
from consul_cluster.agent_configuration import server_config
from consul_cluster.client import Consul, Right
from consul_cluster.cluster_names import STAGING_NAMES
from tests.docker.conftest import CONSUL, NETWORK, SERVER, docker, existing_network, leads
from tests.waiting import within

_TLS = "/consul/config"


@dataclass(frozen=True)
class OthersCluster:
    """What those who secured it can hand over.

    Attributes:
        folder: has their authority, `consul-agent-ca.pem`, and the certificate that they made for the agent.
        gossip_key: encrypts their gossip.
        management: a token with all rights.
    """

    folder: Path
    gossip_key: str
    management: str

    @property
    def ca_file(self) -> str:
        return str(self.folder / "consul-agent-ca.pem")

    @property
    def certificate_file(self) -> str:
        return str(self.folder / "dc1-client-consul-0.pem")

    @property
    def certificate_key(self) -> str:
        return (self.folder / "dc1-client-consul-0-key.pem").read_text()

    @property
    def server(self) -> Consul:
        """The server's API, with all rights."""
        return Consul("https://127.0.0.1:8500", self.management, Path(self.ca_file).read_text())

    def token(self, rights: Sequence[Right]) -> str:
        """Make a token with some rights, and no other one."""
        name = f"others-{uuid4()}"
        self.server._ask("PUT", "/v1/acl/policy", body={"Name": name, "Rules": json.dumps(rules(rights))})
        return str(self.server._ask("PUT", "/v1/acl/token", body={"Policies": [{"Name": name}]})["SecretID"])


def rules(rights: Sequence[Right]) -> Mapping[str, Mapping[str, Mapping[str, str]]]:
    """Return rights as the rules of a policy; of every name, or of keys, as a prefix."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for right in rights:
        resource = right.resource if right.name and right.resource != "key" else f"{right.resource}_prefix"
        found.setdefault(resource, {})[right.name] = {"policy": right.access}
    return found


@contextmanager
def others_cluster(folder: Path) -> Iterator[OthersCluster]:
    """Run the server, on a network of its own."""

    def consul(*arguments: str) -> str:
        command = (str(toolchain.consul()), *arguments)
        return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()

    consul("tls", "ca", "create")
    consul("tls", "cert", "create", "-server", "-additional-dnsname", SERVER)
    consul("tls", "cert", "create", "-client")
    cluster = OthersCluster(folder, consul("keygen"), str(uuid4()))
    config = {
        **server_config(STAGING_NAMES),
        "encrypt": cluster.gossip_key,
        "ports": {"http": -1, "https": 8501},
        "auto_encrypt": {"allow_tls": True},
        "tls": {
            "defaults": {
                "ca_file": f"{_TLS}/consul-agent-ca.pem",
                "cert_file": f"{_TLS}/dc1-server-consul-0.pem",
                "key_file": f"{_TLS}/dc1-server-consul-0-key.pem",
                "verify_outgoing": True,
            },
            "internal_rpc": {"verify_incoming": True, "verify_server_hostname": True},
        },
        "acl": {
            "enabled": True,
            "default_policy": "deny",
            "tokens": {"initial_management": cluster.management, "agent": cluster.management},
        },
    }
    where = ("--name", SERVER, "--hostname", SERVER, "--network", NETWORK, "--publish", "127.0.0.1:8500:8501")
    with existing_network():
        try:
            docker("create", *where, CONSUL, "agent")
            (folder / "server.json").write_text(json.dumps(config))
            for file in (
                "server.json",
                "consul-agent-ca.pem",
                "dc1-server-consul-0.pem",
                "dc1-server-consul-0-key.pem",
            ):
                (folder / file).chmod(0o644)  # of a test: the container's user reads it
                docker("cp", str(folder / file), f"{SERVER}:{_TLS}/{file}")
            docker("start", SERVER)
            within(30, lambda: leads(cluster.server))
            yield cluster
        finally:
            docker("rm", "--force", "--volumes", SERVER)
