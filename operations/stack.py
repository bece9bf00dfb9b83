"""A stack as the commands see it."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import yaml

import settings
import stack_roster
import toolchain
from consul_cluster.client import Consul
from consul_cluster.cluster_names import ClusterNames
from consul_cluster.ownership import owner_prefix
from errors import UserError
from operations.command_line import DEFAULT_STACK
from operations.credentials import Credentials, Role, credentials
from operations.output import print_line
from operations.paths import LOCAL_FOLDER, ROOT
from operations.pulumi_engine import Engine
from operations.sandbox.sandbox import Sandbox, sandbox
from services.model import Service
from services.roster import Roster


class StackError(UserError):
    """There is no such stack, or it has no such service."""


@dataclass(frozen=True)
class Stack:
    """A stack of the project.

    Attributes:
        name: its name.
        project: the project's name.
        settings: its configuration.
        roster: its services.
        engine: deploys it, and reads its state.
        sandbox: the processes of a stack without Docker.
        given_token: access token for Consul's APIs that the user gives.
        role: which of a secured stack's own access tokens is used otherwise.
    """

    name: str
    project: str
    settings: settings.Settings
    roster: Roster
    engine: Engine
    sandbox: Sandbox | None = None
    given_token: str | None = field(default=None, repr=False)
    role: Role = "verify"

    @classmethod
    def load(
        cls, name: str = DEFAULT_STACK, project: Path = ROOT, output: Callable[[str], object] = print_line
    ) -> "Stack":
        """Return a stack of a project. CONSUL_HTTP_TOKEN gives an access token, as to Consul's own commands.

        Args:
            name: the name of the stack.
            project: the folder of the project.
            output: takes each line of the engine's output.

        Raises:
            StackError: there is no such stack.
            settings.SettingsError: its file is wrong; the message has a line for each key.
            services.roster.RosterError: its services are wrong.
            stack_roster.UnfitServicesError: its registration cannot do what a service says.
        """
        file = project / f"Pulumi.{name}.yaml"
        if not file.is_file():
            names = sorted(each.name[len("Pulumi.") : -len(".yaml")] for each in project.glob("Pulumi.*.yaml"))
            raise StackError(f"there is no {file.name}: the stacks of this project are {', '.join(names)}")
        project_name = str(yaml.safe_load((project / "Pulumi.yaml").read_text())["name"])
        config = settings.of_file(file, project_name)
        roster = stack_roster.load(config)
        # Containers are written to the state one by one: one that no state knows would block the next run.
        engine = Engine(
            toolchain.pulumi,
            LOCAL_FOLDER / "pulumi",
            project,
            stack=name,
            print_line=output,
            checkpoints=config.docker,
        )
        return cls(
            name,
            project_name,
            config,
            roster,
            engine,
            sandbox(config, roster) if config.sandbox else None,
            os.environ.get("CONSUL_HTTP_TOKEN"),
        )

    def with_role(self, role: Role) -> "Stack":
        """Return a copy of this stack that uses the access token of another role."""
        return replace(self, role=role)

    def service(self, service_id: str) -> Service:
        """Return the service of an id, which is its name unless it has several instances.

        Raises:
            StackError: the roster has no such service.
        """
        for service in self.roster.services:
            if service.id == service_id:
                return service
        ids = ", ".join(service.id for service in self.roster.services)
        raise StackError(f"there is no service {service_id!r} in services/: it has {ids}")

    @property
    def names(self) -> ClusterNames:
        """What the parts of its cluster are called."""
        return self.settings.names

    @property
    def node(self) -> str:
        """The node on which the services are registered."""
        return self.settings.node

    @property
    def owner_prefix(self) -> str:
        """What the owners of the stack's registrations begin with."""
        return owner_prefix(self.project, self.name)

    @property
    def ui(self) -> str:
        """The address of the server's UI."""
        return f"{self.settings.server_address}/ui"

    @cached_property
    def credentials(self) -> Credentials:
        """The access token and the authority of the stack's role."""
        return credentials(self.settings, self.given_token, self.role, self.engine.outputs)

    @property
    def agent(self) -> Consul | None:
        """The API of the shared agent; None if it is not published."""
        address = self.settings.agent_address
        return self.credentials.client(address) if address else None

    @property
    def server(self) -> Consul:
        """The API of the server."""
        return self.credentials.client(self.settings.server_address)

    @property
    def consul(self) -> Consul:
        """The API that clients use: the agent's, or the server's if the agent's is not published."""
        return self.agent or self.server
