"""A stack as its file has it: its services, and where its Consul answers."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import yaml

import settings
from cluster.client import Consul
from cluster.ownership import owner_prefix
from operations.paths import ROOT
from services.roster import Roster, load_roster

Role = Literal["verify", "registration", "removal"]
"""What a command does to a secured Consul: reads it, registers the stack's services, or removes what it left behind."""


def _nothing() -> Mapping[str, Any]:
    return {}


class TargetError(Exception):
    """There is no such stack, or it was not deployed."""


@dataclass(frozen=True)
class Target:
    """What the commands look at.

    Attributes:
        project: the project's name.
        stack: the stack's.
        settings: its config.
        roster: its services.
        token: ACL token for Consul's API, if a person gave one.
        outputs: gets the stack's outputs, secrets too: a secured stack has its authority and its tokens there.
        role: which of these tokens is used.
    """

    project: str
    stack: str
    settings: settings.Settings
    roster: Roster
    token: str | None = field(default=None, repr=False)
    outputs: Callable[[], Mapping[str, Any]] = _nothing
    role: Role = "verify"

    def let_in_as(self, role: Role) -> "Target":
        """Return it with another of its tokens."""
        return replace(self, role=role)

    @cached_property
    def _let_in(self) -> tuple[str | None, str | None]:
        """Token, and PEM text of the authority behind the APIs' certificates."""
        if self.settings.stage == "off":
            return self.token, self.settings.ca
        made = self.outputs()
        if "tokens" not in made:
            raise TargetError(f"stack {self.stack} has no tokens yet, and its Consul is to ask for them: deploy it")
        return self.token or made["tokens"][self.role], made["ca"]

    @property
    def agent(self) -> Consul | None:
        """The shared agent's API; None where it is not published."""
        address = self.settings.agent_address
        return Consul(address, *self._let_in) if address else None

    @property
    def server(self) -> Consul:
        """The server's API."""
        return Consul(self.settings.server_address, *self._let_in)

    @property
    def consul(self) -> Consul:
        """The API that clients use: the agent's, or the server's where the agent's is not published."""
        return self.agent or self.server

    @property
    def node(self) -> str:
        """The node that the services are registered on."""
        return self.settings.node

    @property
    def owner_prefix(self) -> str:
        """What the marks of the stack's registrations begin with."""
        return owner_prefix(self.project, self.stack)


def target(stack: str, project: Path = ROOT) -> Target:
    """Return a stack. A secret token in its file is not read: CONSUL_HTTP_TOKEN gives one, as to Consul's own commands.

    A secured stack's own tokens are asked for when they are needed, of the backend that has its state.

    Args:
        stack: its name.
        project: the folder with its file.

    Raises:
        settings.SettingsError: with a line for each key of it that is wrong.
        TargetError: there is no such stack.
    """
    file = project / f"Pulumi.{stack}.yaml"
    if not file.is_file():
        stacks = ", ".join(sorted(path.name[len("Pulumi.") : -len(".yaml")] for path in project.glob("Pulumi.*.yaml")))
        raise TargetError(f"there is no {file.name}: the stacks here are {stacks}")
    name = str(yaml.safe_load((project / "Pulumi.yaml").read_text())["name"])
    config = settings.of_file(file, name)
    services = load_roster(config.environment, config.service_host)
    return Target(name, stack, config, services, os.environ.get("CONSUL_HTTP_TOKEN"))
