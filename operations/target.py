"""A stack as its file has it: its services, and where its Consul answers."""

import os
from dataclasses import dataclass
from pathlib import Path

import yaml

import settings
from services.consul_api import Consul
from services.marks import owner
from services.roster import roster
from services.rules import Roster

ROOT = Path(__file__).parent.parent


class TargetError(Exception):
    """There is no such stack: says which there are."""


@dataclass(frozen=True)
class Target:
    """What the commands look at.

    Attributes:
        project: the project's name.
        stack: the stack's.
        settings: its config.
        roster: its services.
        token: ACL token for Consul's API, if it needs one.
    """

    project: str
    stack: str
    settings: settings.Settings
    roster: Roster
    token: str | None = None

    @property
    def agent(self) -> Consul | None:
        """The shared agent's API; None where it is not published."""
        address = self.settings.agent_address
        return Consul(address, self.token, self.settings.agent_ca_file) if address else None

    @property
    def server(self) -> Consul:
        """The server's API."""
        return Consul(self.settings.server_address, self.token, self.settings.agent_ca_file)

    @property
    def consul(self) -> Consul:
        """The API that clients use: the agent's, or the server's where the agent's is not published."""
        return self.agent or self.server

    @property
    def node(self) -> str:
        """The node that the services are registered on."""
        return self.settings.node

    @property
    def owner(self) -> str:
        """What the marks of the stack's registrations begin with."""
        return owner(self.project, self.stack)


def target(stack: str, project: Path = ROOT) -> Target:
    """Return a stack. A secret token in its file is not read: CONSUL_HTTP_TOKEN gives one, as to Consul's own commands.

    Args:
        stack: its name.
        project: the folder with its file.

    Raises:
        settings.SettingsError: with a line for each key of it that is wrong.
        TargetError: there is no such stack.
    """
    file = project / f"Pulumi.{stack}.yaml"
    if not file.is_file():
        stacks = ", ".join(sorted(path.suffixes[0][1:] for path in project.glob("Pulumi.*.yaml")))
        raise TargetError(f"there is no {file.name}: the stacks here are {stacks}")
    name = str(yaml.safe_load((project / "Pulumi.yaml").read_text())["name"])
    config = settings.of_file(file, name)
    services = roster(config.environment, config.service_host)
    return Target(name, stack, config, services, os.environ.get("CONSUL_HTTP_TOKEN"))
