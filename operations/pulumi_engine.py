"""Pulumi's engine: runs the program on a stack, and reads the stack's state."""

import gc
import json
import logging
import os
import runpy
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import psutil
import yaml
from pulumi import automation

from errors import UserError
from operations.paths import ROOT
from operations.pulumi_state import DeployedState, deployed_state

Result = TypeVar("Result")

# gRPC asks the proxy in http_proxy also for the ports of this machine, at which engine and program find each other.
# https://github.com/grpc/grpc/blob/master/doc/environment_variables.md
_WITHOUT_PROXY = {"no_grpc_proxy": "127.0.0.1"}

_THREADS_SECONDS = 1  # in which the SDK's threads fail after a run that failed; the others wait for work
_PASSPHRASE = "PULUMI_CONFIG_PASSPHRASE"  # noqa: S105 - the name of a variable
_SALT_OF_BLANK = "v1:0Jv6ZM0o2CM=:v1:gG4z3L1bwE4WG3hl:iRUCoroNl9vBWuHoeyKSyinjFUDbTw=="  # of local and docker-local
_ANSWER_SECONDS = 30  # for one query of a state, which takes 0.2 s where the backend is a folder


class EngineError(UserError):
    """The engine cannot run, or did not finish."""


def program() -> None:
    """Run the project's `__main__.py`, as Pulumi's language host does in a process of its own."""
    runpy.run_path(str(ROOT / "__main__.py"))


@dataclass(frozen=True)
class Engine:
    """Pulumi on one stack of a project.

    Attributes:
        pulumi: gets the `pulumi` program.
        folder: where the state of this clone and its plugins are, unless the environment says otherwise.
        project: the folder of the project.
        program: what is deployed.
        stack: name of the stack.
        print_line: takes each line of the engine's output.
        checkpoints: write the state once for each resource, as `pulumi` does by default. The time for that grows with
            the square of their number. Without, nothing is lost where all resources are registrations: the next run
            takes over what a killed run registered (`create` of the provider), or prunes it (`operations.up.prune`).
    """

    pulumi: Callable[[], Path]
    folder: Path
    project: Path = ROOT
    program: Callable[[], None] = program
    stack: str = "local"
    print_line: Callable[[str], object] = print
    checkpoints: bool = False

    @property
    def project_name(self) -> str:
        """The name of the project."""
        return str(yaml.safe_load((self.project / "Pulumi.yaml").read_text())["name"])

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which `pulumi` uses this clone's state, in a shell too."""
        return {
            "PULUMI_BACKEND_URL": (self.folder / "state").as_uri(),
            "PULUMI_HOME": os.environ.get("PULUMI_HOME", str(self.folder / "home")),
            "PULUMI_RUNTIME_VIRTUALENV": sys.prefix,
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_SKIP_CHECKPOINTS": str(not self.checkpoints).lower(),
            "PYTHONPATH": str(ROOT),
            **_WITHOUT_PROXY,
            **self._passphrase,
        }

    def up(self, **options: Any) -> automation.UpResult:  # noqa: ANN401 - the Automation API's own
        """Deploy, with the options of `automation.Stack.up`."""
        return self._run(lambda stack: stack.up(**self._output, show_secrets=False, **options))

    def preview(self, **options: Any) -> automation.PreviewResult:  # noqa: ANN401 - the Automation API's own
        """Show what a deployment would change, with the options of `automation.Stack.preview`."""
        return self._run(lambda stack: stack.preview(**self._output, **options))

    def destroy(self) -> automation.DestroyResult:
        """Remove every resource."""
        return self._run(lambda stack: stack.destroy(**self._output, show_secrets=False))

    def urns(self) -> list[str]:
        """Return the URN of every resource in the state."""
        exported = self._run(lambda stack: stack.export_stack())
        return [resource["urn"] for resource in (exported.deployment or {}).get("resources", [])]

    def forget(self) -> None:
        """Remove the state without destroying what it names. The stack's file stays."""
        self._run(lambda stack: stack.workspace.remove_stack(self.stack, force=True, preserve_config=True))

    def unlock(self) -> bool:
        """Remove the lock of a run that was killed, and files that it wrote in part; return whether it left a lock.

        Raises:
            EngineError: the run that holds the lock is alive, or on another machine.
        """
        state = self.folder / "state" / ".pulumi"
        folders = list((state / "locks").glob(f"*/{self.project_name}/{self.stack}"))
        locks = [lock for folder in folders for lock in folder.glob("*.json")]
        for lock in locks:
            with suppress(json.JSONDecodeError):  # cut off, as by a loss of power
                _refuse_live_holder(json.loads(lock.read_text()))
            lock.unlink()
        _remove_partial_files(state, folders)
        if _restore_cut_off(state / "stacks" / self.project_name / f"{self.stack}.json"):
            self.print_line("pulumi: the state was cut off, as a full disk does: its copy of one write earlier is used")
        return bool(locks)

    # Queries of the state, on whatever backend it is

    @cached_property
    def backend(self) -> str:
        """URL of the backend that has the state."""
        return str(json.loads(self._query("whoami", "--json"))["url"])

    def deployed_state(self) -> DeployedState:
        """Return what is deployed. This needs no passphrase, because no secret is decrypted.

        Raises:
            EngineError: nothing was ever deployed, or the backend does not answer.
        """
        return deployed_state(json.loads(self._query("stack", "export", "--stack", self.stack))["deployment"])

    def outputs(self) -> Mapping[str, Any]:
        """Return the outputs of the stack with secrets in plain text: needs the passphrase, where the state has one.

        Raises:
            EngineError: nothing was ever deployed, the passphrase is wrong, or the backend does not answer.
        """
        printed = self._query("stack", "output", "--json", "--show-secrets", "--stack", self.stack)
        outputs: Mapping[str, Any] = json.loads(printed)
        return outputs

    @property
    def locked(self) -> bool:
        """Whether a run holds the lock of the stack, where the backend is a folder.

        Other backends show no lock. There, an operation under way is in the state as a pending one, unless
        PULUMI_SKIP_CHECKPOINTS is set.
        """
        url = urlsplit(self.backend)
        if url.scheme != "file":
            return False
        locks = Path(unquote(url.netloc + url.path)).expanduser() / ".pulumi" / "locks"
        return any(locks.glob(f"*/{self.project_name}/{self.stack}/*.json"))

    def _query(self, *arguments: str) -> str:
        command = f"pulumi {' '.join(arguments)}"
        try:
            done = subprocess.run(  # noqa: S603 - the command is this project's own
                (self.pulumi(), *arguments, "--non-interactive"),
                cwd=self.project,
                env={**os.environ, **self._query_environment},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=True,
                timeout=_ANSWER_SECONDS,
            )
        except subprocess.CalledProcessError as error:
            said = " ".join(error.stderr.removeprefix("error: ").split())
            raise self._error(said, f"{command}: {said}") from None
        except subprocess.TimeoutExpired:
            raise EngineError(f"{command}: no answer within {_ANSWER_SECONDS} s") from None
        return done.stdout

    @property
    def _query_environment(self) -> Mapping[str, str]:
        """This clone's own backend if it has the stack; else the one that the shell names; else `pulumi login`'s."""
        own = self.folder / "state" / ".pulumi" / "stacks" / self.project_name / f"{self.stack}.json"
        return self.environment if own.is_file() else {}

    @property
    def _passphrase(self) -> dict[str, str]:
        """The passphrase of the environment; a blank one if it has none, not in a file either.

        A stack whose file has the salt of a blank one has no other, whatever the environment has for staging.
        https://www.pulumi.com/docs/iac/cli/environment-variables/
        """
        file = self.project / f"Pulumi.{self.stack}.yaml"
        if file.is_file() and _SALT_OF_BLANK in file.read_text():
            return {_PASSPHRASE: ""}
        if f"{_PASSPHRASE}_FILE" in os.environ and _PASSPHRASE not in os.environ:
            return {}
        return {_PASSPHRASE: os.environ.get(_PASSPHRASE, "")}

    def _error(self, said: str, otherwise: str) -> EngineError:
        """Return the error of a run that said something."""
        if "PULUMI_ACCESS_TOKEN must be set" in said:
            return EngineError(
                f"this clone has no state of stack {self.stack}, and pulumi is logged in to no backend that has: "
                "deploy the stack first, or pulumi login where its state is"
            )
        if "incorrect passphrase" not in said:
            return EngineError(otherwise)
        return EngineError(
            f"incorrect passphrase: {_PASSPHRASE} is not the one of stack {self.stack}, with which its state and the "
            f"secrets in Pulumi.{self.stack}.yaml were encrypted; of a blank one, set {_PASSPHRASE}="
        )

    @property
    def _output(self) -> dict[str, Any]:
        return {"on_output": self.print_line, "on_error": self.print_line, "suppress_progress": True}

    def _run(self, operation: Callable[[automation.Stack], Result]) -> Result:
        (self.folder / "state").mkdir(parents=True, exist_ok=True)
        os.environ.update(_WITHOUT_PROXY)  # the program runs in this process
        with quiet_sdk():
            try:
                return operation(self._automation_stack())
            except automation.CommandError as error:
                raise self._error(str(error), "pulumi did not finish: its output above says why") from error
            except KeyboardInterrupt:
                self.print_line("interrupted: the next run completes this one")
                raise

    def _automation_stack(self) -> automation.Stack:
        workspace = _Workspace(
            work_dir=str(self.project),
            program=self.program,
            env_vars=self.environment,
            pulumi_command=_command(self.pulumi()),
        )
        return automation.Stack.create_or_select(self.stack, workspace)


class _Workspace(automation.LocalWorkspace):
    """Reads no outputs after a run, which takes two more calls of `pulumi`: who needs them asks `Engine.outputs`."""

    def stack_outputs(self, stack_name: str) -> automation.OutputMap:
        """Return none."""
        return {}


@cache
def _command(program: Path) -> automation.PulumiCommand:
    """Return the command, which asks `pulumi` for its version when it is made."""
    on_path = shutil.which(program.name) == str(program)
    return automation.PulumiCommand(root=None if on_path else str(program.parent.parent))


def _refuse_live_holder(holder: Mapping[str, Any]) -> None:
    """Refuse a lock whose run may be alive: on another machine, its process is not seen."""
    machine, process = holder["hostname"], holder["pid"]
    if machine != socket.gethostname():
        raise EngineError(f"a run on {machine} holds this stack's lock: wait for it; if it was killed, pulumi cancel")
    with suppress(psutil.NoSuchProcess):
        if psutil.Process(process).name() == "pulumi":
            raise EngineError(f"another run is at work on this stack (process {process}): wait for it to end")


def _remove_partial_files(state: Path, locks: Iterable[Path]) -> None:
    """Remove what no run can read: a file's attributes, which are created empty, and a lock without its name.

    A file needs no attributes.
    """
    empty = (file for file in state.rglob("*.attrs") if not file.stat().st_size)
    for file in (*empty, *(file for folder in locks for file in folder.glob("*.tmp"))):
        file.unlink()


def _restore_cut_off(state: Path) -> bool:
    """Put Pulumi's copy in the place of a state that is no JSON text, since the disk was full when it was written.

    Tried with Pulumi 3.260: it fails then, and has given the file its name all the same.
    """
    copy = state.with_name(f"{state.name}.bak")
    if not copy.is_file() or not state.is_file() or _is_json(state):
        return False
    copy.replace(state)
    return True


def _is_json(file: Path) -> bool:
    try:
        json.loads(file.read_text())
    except ValueError:
        return False
    return True


@contextmanager
def quiet_sdk() -> Iterator[None]:
    """Keep the SDK from printing stack traces of a run that fails: the engine's output says why it failed.

    The SDK logs them for a program that fails, leaves coroutines that Python complains of when it collects them, and
    its threads go on to read what an interrupted run has closed: what ends a thread is printed after a run that ended
    well alone.
    """
    logger = logging.getLogger("grpc._server")
    level, threads = logger.level, set(threading.enumerate())
    hooks = sys.unraisablehook, threading.excepthook
    ended: list[threading.ExceptHookArgs] = []
    threading.excepthook = ended.append
    logger.setLevel(logging.CRITICAL)
    try:
        yield
        for each in ended:
            hooks[1](each)
    except BaseException:
        sys.unraisablehook = lambda _: None
        gc.collect()
        end = time.monotonic() + _THREADS_SECONDS
        for thread in set(threading.enumerate()) - threads:
            thread.join(max(0.0, end - time.monotonic()))
        raise
    finally:
        logger.setLevel(level)
        sys.unraisablehook, threading.excepthook = hooks
