"""What the agent needs to join a Consul that others secured, as files of its container."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pulumi

from components.config_volume import CONFIG_FOLDER, Uploads
from consul_cluster.acl_rules import agent_tokens
from consul_cluster.joining import join_config
from consul_cluster.security_stages import CA_FILE, CERTIFICATE_FILE, KEY_FILE


@dataclass(frozen=True)
class JoinedCluster:
    """The keys that others made. Each is optional, since they may have secured only a part.

    Attributes:
        gossip_key: encrypts the traffic between the nodes.
        ca: PEM text of the servers' authority; None: their RPC is not TLS.
        certificate: the agent's own, as PEM text; None: the servers give it one.
        certificate_key: the private key of that, as PEM text.
        tokens: the agent's own, `agent`, and that of its definition files, `registration`.
    """

    gossip_key: str | None = field(default=None, repr=False)
    ca: str | None = None
    certificate: str | None = None
    certificate_key: str | None = field(default=None, repr=False)
    tokens: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def config(self) -> Mapping[str, Any]:
        """The part of the agent's configuration that contains no secret."""
        return join_config(
            gossip=self.gossip_key is not None,
            tls=self.ca is not None,
            certificate=self.certificate is not None,
            acl=bool(self.tokens),
        )

    def files(self, _container: str) -> Uploads:
        """Return the secret part of the agent's configuration, and its certificate, by path."""
        gossip = {"encrypt": self.gossip_key} if self.gossip_key else {}
        acl = {"acl": {"tokens": agent_tokens(self.tokens)}} if self.tokens else {}
        secrets = {
            f"{CONFIG_FOLDER}/secrets.json": pulumi.Output.json_dumps({**gossip, **acl}) if gossip or acl else None,
            KEY_FILE: self.certificate_key,
        }
        public = {CA_FILE: self.ca, CERTIFICATE_FILE: self.certificate}
        return {
            **{path: pulumi.Output.secret(content) for path, content in secrets.items() if content is not None},
            **{path: content for path, content in public.items() if content is not None},
        }
