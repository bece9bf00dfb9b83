"""The project's program in the real engine, with a state of its own and no account."""

import gc
import json
import logging
import os
import runpy
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil
import yaml
from pulumi import automation

from operations.paths import ROOT

Result = TypeVar("Result")

STACK = "local"


logging.getLogger("grpc._server").setLevel(logging.CRITICAL)  # what fails is told by the engine's own output


class EngineError(Exception):
    """The engine cannot run, or did not finish."""


def program() -> None:
    """Run the project's `__main__.py`, as the engine's own language host does in a process of its own."""
    runpy.run_path(str(ROOT / "__main__.py"))


@dataclass(frozen=True)
class Engine:
    """Pulumi on one stack of a project.

    Attributes:
        pulumi: gets the `pulumi` program.
        folder: where the state and the engine's own files are.
        project: the folder with Pulumi.yaml and the stack's file.
        program: what declares the resources.
        stack: the stack's name.
        say: takes each line of the engine's output.
        checkpoints: write the state once a resource, as `pulumi` does by itself. Its time then grows with the square
            of their number. Nothing is lost without: a killed run's registrations bear our mark, so that the next run
            takes them up (the provider's `create`) or removes what is stated no more (`operations.local.sweep`).
    """

    pulumi: Callable[[], Path]
    folder: Path
    project: Path = ROOT
    program: Callable[[], None] = program
    stack: str = STACK
    say: Callable[[str], object] = print
    checkpoints: bool = False

    @property
    def name(self) -> str:
        """The project's name."""
        return str(yaml.safe_load((self.project / "Pulumi.yaml").read_text())["name"])

    @property
    def environment(self) -> dict[str, str]:
        """What makes `pulumi` use this state, in a shell too."""
        return {
            "PULUMI_BACKEND_URL": (self.folder / "state").as_uri(),
            # Of what is tried on one machine, which is all on loopback, the state and its secrets are in one folder.
            "PULUMI_CONFIG_PASSPHRASE": os.environ.get("PULUMI_CONFIG_PASSPHRASE", ""),
            "PULUMI_HOME": os.environ.get("PULUMI_HOME", str(self.folder / "home")),
            "PULUMI_RUNTIME_VIRTUALENV": sys.prefix,
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_SKIP_CHECKPOINTS": str(not self.checkpoints).lower(),
            "PYTHONPATH": str(ROOT),
        }

    def up(self, **options: Any) -> automation.UpResult:  # noqa: ANN401 - the Automation API's own
        """Deploy, with the options of `automation.Stack.up`."""
        return self._run(lambda stack: stack.up(**self._output, **options))

    def preview(self, **options: Any) -> automation.PreviewResult:  # noqa: ANN401 - the Automation API's own
        """Show what a deployment would change, with the options of `automation.Stack.preview`."""
        return self._run(lambda stack: stack.preview(**self._output, **options))

    def urns(self) -> list[str]:
        """Return the URN of every resource in the state."""
        exported = self._run(lambda stack: stack.export_stack())
        return [resource["urn"] for resource in (exported.deployment or {}).get("resources", [])]

    def destroy(self) -> automation.DestroyResult:
        """Remove every resource."""
        return self._run(lambda stack: stack.destroy(**self._output))

    def forget(self) -> None:
        """Drop the state of resources that are gone with what held them. The stack's file stays."""
        self._run(lambda stack: stack.workspace.remove_stack(self.stack, force=True, preserve_config=True))

    def unlock(self) -> bool:
        """Remove the lock of a run that was killed, and what it had half written. Returns whether there was a lock.

        Raises:
            EngineError: the run that holds it is alive.
        """
        state = self.folder / "state" / ".pulumi"
        locks = list((state / "locks").rglob("*.json"))
        for lock in locks:
            holder = json.loads(lock.read_text())["pid"]
            with suppress(psutil.NoSuchProcess):
                if psutil.Process(holder).name() == "pulumi":
                    raise EngineError(f"another run is at work on this stack (process {holder}): wait for it to end")
            lock.unlink()
        _drop_half_written(state)
        return bool(locks)

    @property
    def _output(self) -> dict[str, Any]:
        return {"on_output": self.say, "on_error": self.say, "suppress_progress": True}

    def _run(self, operation: Callable[[automation.Stack], Result]) -> Result:
        (self.folder / "state").mkdir(parents=True, exist_ok=True)
        try:
            return operation(self._stack())
        except automation.CommandError as error:
            raise EngineError("pulumi did not finish: what it said stands above") from error
        except KeyboardInterrupt:
            threading.excepthook = lambda _: None  # of the SDK's threads, which read on from what is closed by now
            self.say("interrupted: the next run completes this one")
            raise
        finally:
            _drop_coroutines()

    def _stack(self) -> automation.Stack:
        beside = str(self.pulumi().parent)  # the script that runs dynamic providers is there too
        if beside not in os.environ["PATH"].split(os.pathsep):
            os.environ["PATH"] = f"{beside}{os.pathsep}{os.environ['PATH']}"
        workspace = automation.LocalWorkspace(
            work_dir=str(self.project),
            program=self.program,
            env_vars=self.environment,
            pulumi_command=automation.PulumiCommand(),
        )
        return automation.Stack.create_or_select(self.stack, workspace)


def _drop_half_written(state: Path) -> None:
    """Remove what no run can read: a file's attributes, which are created empty, and a lock before it has its name.

    A file needs no attributes. The state itself is never half written: it takes its name when it is whole.
    """
    empty = (file for file in state.rglob("*.attrs") if not file.stat().st_size)
    for file in (*empty, *(state / "locks").rglob("*.tmp")):
        file.unlink()


def _drop_coroutines() -> None:
    """Clear away what the SDK leaves of a program whose run failed, before Python does it with a stack trace each."""
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        gc.collect()
    finally:
        sys.unraisablehook = hook
