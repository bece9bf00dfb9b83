"""What a stack's state says is deployed over the agent's API, and whether a run of pulumi is changing it."""

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from operations.engine import Engine, EngineError

_TYPE = "pulumi-python:dynamic/consul:AgentService"
_HELD = ("name", "address", "port", "tags", "meta", "checks")
_PATIENCE = 30  # seconds for one answer of pulumi's, which comes in 0.2 s from a folder


@dataclass(frozen=True)
class Registration:
    """One service as the last run of pulumi deployed it.

    Attributes:
        agent: the API's address that it was registered at.
        mark: by which its resource knows its own.
        fields: what is to be held, as `services.held` has it.
    """

    agent: str
    mark: str
    fields: dict[str, Any]


@dataclass(frozen=True)
class Deployed:
    """A state at one moment.

    Attributes:
        services: what is deployed, by id.
        unfinished: whether a run is at work, or was broken off, so that this is not what is deployed.
    """

    services: Mapping[str, Registration]
    unfinished: bool


@dataclass(frozen=True)
class State:
    """The state of a stack, on whatever backend it is.

    Attributes:
        engine: of this clone, with a backend of its own.
    """

    engine: Engine

    @cached_property
    def backend(self) -> str:
        """The backend's URL."""
        return str(json.loads(self._pulumi("whoami", "--json"))["url"])

    def read(self) -> Deployed:
        """Return what is deployed. No secret is decrypted, so no passphrase is needed.

        Raises:
            EngineError: nothing was ever deployed, or the backend does not answer.
        """
        exported = json.loads(self._pulumi("stack", "export", "--stack", self.engine.stack))["deployment"]
        services = {
            resource["inputs"]["service_id"]: _registration(resource["inputs"])
            for resource in exported.get("resources", [])
            if resource["type"] == _TYPE and not resource.get("delete")
        }
        return Deployed(services, bool(exported.get("pending_operations")))

    def outputs(self) -> Mapping[str, Any]:
        """Return the stack's outputs, secrets too: needs what its secrets provider needs, such as a passphrase.

        Raises:
            EngineError: it cannot, or nothing was ever deployed.
        """
        shown: Mapping[str, Any] = json.loads(
            self._pulumi("stack", "output", "--json", "--show-secrets", "--stack", self.engine.stack)
        )
        return shown

    @property
    def locked(self) -> bool:
        """Whether a run holds the stack's lock: seen where the backend is a folder.

        Others have no such file. There the state itself tells: it is written before and after each step of a run, and
        what is under way is in it as a pending operation, unless PULUMI_SKIP_CHECKPOINTS is set.
        """
        url = urlsplit(self.backend)
        if url.scheme != "file":
            return False
        locks = Path(unquote(url.netloc + url.path)).expanduser() / ".pulumi" / "locks"
        return any(locks.glob(f"*/{self.engine.name}/{self.engine.stack}/*.json"))

    @property
    def _environment(self) -> Mapping[str, str]:
        """The backend that the environment names; else this clone's own, if it has the stack; else `pulumi login`'s."""
        own = self.engine.folder / "state" / ".pulumi" / "stacks" / self.engine.name / f"{self.engine.stack}.json"
        return self.engine.environment if own.is_file() and "PULUMI_BACKEND_URL" not in os.environ else {}

    def _pulumi(self, *arguments: str) -> str:
        try:
            done = subprocess.run(  # noqa: S603 - the command is this project's own
                (self.engine.pulumi(), *arguments, "--non-interactive"),
                cwd=self.engine.project,
                env={**os.environ, **self._environment},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=True,
                timeout=_PATIENCE,
            )
        except subprocess.CalledProcessError as error:
            raise EngineError(f"pulumi {' '.join(arguments)}: {_one_line(error.stderr)}") from None
        except subprocess.TimeoutExpired:
            raise EngineError(f"pulumi {' '.join(arguments)}: no answer within {_PATIENCE} s") from None
        return done.stdout


def _registration(inputs: Mapping[str, Any]) -> Registration:
    fields = {**{key: inputs[key] for key in _HELD}, "port": int(inputs["port"])}
    return Registration(inputs["agent"], inputs["mark"], fields)


def _one_line(said: str) -> str:
    return " ".join(said.removeprefix("error: ").split())
