"""Registrations from definition files in the agent's container, as in the guide: the agent reads them on reload.

For where the agent's API is not reachable from where Pulumi runs: nothing here talks to Consul, only to Docker.
"""

import json
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pulumi_docker as docker

from cluster.agent_configuration import AGENT_NODE, HTTPS_PORT, reloadable_config
from cluster.ownership import DEFINITION_FILES, roster_with_owner
from components.child_options import child_options
from components.config_volume import Uploads, uploads
from components.consul_agent import FILES_FOLDER, ConsulAgent
from components.hardening import HARDENED
from components.registration.switching import stack_owner_prefix
from services.definition import definition_files
from services.roster import Roster

_TOKEN, _CA = "/reload/token", "/reload/ca.pem"


@dataclass(frozen=True)
class FilesRegistrationArgs:
    """What a `FilesRegistration` writes, and for whom.

    Attributes:
        roster: the services that the agent is to read from its files; none, where they are registered otherwise.
        agent: whose files they are.
        network: where it is reached.
        token: ACL token with `agent:write`, where the cluster is secured; kept as a secret.
        ca: PEM text of its authority.
        hooks: of the container: they move the services from another registration of the stack.
    """

    roster: Roster
    agent: ConsulAgent
    network: pulumi.Input[str]
    token: pulumi.Input[str] | None = field(default=None, repr=False)
    ca: pulumi.Input[str] | None = None
    hooks: pulumi.ResourceHookBinding | None = None


class FilesRegistration(pulumi.ComponentResource):
    """Everything that the agent reads again while it runs: the three definition files, and a part of its config.

    One short-lived container carries the files into the agent's volume and tells the agent to reload. A change to a
    file replaces that container, and leaves the agent's alone. All the files are always written: one that is not
    would stay in the volume.
    """

    def __init__(self, name: str, args: FilesRegistrationArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the container; it is there once the agent has reloaded.

        Raises:
            pulumi.RunError: the agent refused the files.
        """
        super().__init__("consul-staging:registration:FilesRegistration", name, None, opts)
        definitions = definition_files(roster_with_owner(args.roster, stack_owner_prefix() + DEFINITION_FILES))
        files: Uploads = {
            f"{FILES_FOLDER}/{file}": json.dumps(content, indent=2) + "\n"
            for file, content in {"agent-reloaded.json": reloadable_config(), **definitions}.items()
        }
        api, options = f"http://{AGENT_NODE}:8500", list[str]()
        if args.token is not None and args.ca is not None:
            api, options = f"https://{AGENT_NODE}:{HTTPS_PORT}", [f"-token-file={_TOKEN}", f"-ca-file={_CA}"]
            files = {**files, _TOKEN: pulumi.Output.secret(args.token), _CA: args.ca}
        container = docker.Container(
            f"{name}-reload",
            name=args.agent.node.apply(lambda node: f"{node}-reload"),
            image=args.agent.image,
            user="consul",
            entrypoints=["consul"],
            command=["reload", f"-http-addr={api}", *options],
            labels=[docker.ContainerLabelArgs(label="agent", value=args.agent.container)],  # another one reads them too
            networks_advanced=[docker.ContainerNetworksAdvancedArgs(name=args.network)],
            volumes=[docker.ContainerVolumeArgs(container_path=FILES_FOLDER, volume_name=args.agent.files)],
            uploads=uploads(files),
            attach=True,
            logs=True,
            must_run=False,
            opts=pulumi.ResourceOptions.merge(
                child_options(self, opts), pulumi.ResourceOptions(delete_before_replace=True, hooks=args.hooks)
            ),
            **HARDENED,
        )
        self.register_outputs(
            {"reloaded": pulumi.Output.all(container.exit_code, container.container_logs).apply(_done)}
        )


def _done(ended: list[Any]) -> bool:
    code, log = ended
    if code:
        raise pulumi.RunError(
            f"the agent did not reload its files: {log.strip()}. Its own log says why: docker logs {AGENT_NODE}"
        )
    return True
