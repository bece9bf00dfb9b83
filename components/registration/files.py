"""Registrations from definition files in the agent's container, as in the guide: the agent reads them on reload.

For where the agent's API is not reachable from where Pulumi runs: nothing here talks to Consul, only to Docker.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_docker as docker

from components.agent import FILES_FOLDER, ConsulAgent
from components.registration.handover import stack_owner
from services.agent_config import AGENT_NODE, reloaded_config
from services.marks import FILES
from services.render import definition_files
from services.rules import Roster


@dataclass(frozen=True)
class FilesRegistrationArgs:
    """What a `FilesRegistration` writes, and for whom.

    Attributes:
        roster: the services that the agent is to read from its files; none, where they are registered otherwise.
        agent: whose files they are.
        network: where it is reached.
        moves: run when a service is created, to move it here from another registration of the stack.
    """

    roster: Roster
    agent: ConsulAgent
    network: pulumi.Input[str]
    moves: pulumi.ResourceHookBinding | None = None


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
        files: Mapping[str, Any] = {
            "agent-reloaded.json": reloaded_config(),
            **definition_files(args.roster, stack_owner() + FILES),
        }
        container = docker.Container(
            f"{name}-reload",
            name=args.agent.node.apply(lambda node: f"{node}-reload"),
            image=args.agent.image,
            entrypoints=["consul"],
            command=["reload"],
            envs=[args.agent.node.apply(lambda node: f"CONSUL_HTTP_ADDR=http://{node}:8500")],
            labels=[docker.ContainerLabelArgs(label="agent", value=args.agent.container)],  # another one reads them too
            networks_advanced=[docker.ContainerNetworksAdvancedArgs(name=args.network)],
            volumes=[docker.ContainerVolumeArgs(container_path=FILES_FOLDER, volume_name=args.agent.files)],
            uploads=[
                docker.ContainerUploadArgs(file=f"{FILES_FOLDER}/{file}", content=json.dumps(content, indent=2) + "\n")
                for file, content in files.items()
            ],
            attach=True,
            logs=True,
            must_run=False,
            log_driver="json-file",
            log_opts={"max-size": "10m", "max-file": "3"},
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=opts.depends_on if opts else None,
                delete_before_replace=True,
                hooks=args.moves,
            ),
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
