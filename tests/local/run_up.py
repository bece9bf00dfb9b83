"""Runs one `up` of the 40 in a process of its own, so that a test can kill its engine."""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil

import toolchain
from components.consul_connection import Connection
from components.registration.agent import AgentRegistration, AgentRegistrationArgs
from operations.paths import ROOT
from operations.pulumi_engine import Engine
from tests.forty_services import forty_roster
from tests.local.stacks import EditableStack
from tests.waiting import within


def start_up(stack: EditableStack) -> subprocess.Popen[bytes]:
    """Start an `up` of the 40 with the engine of a stack."""
    engine = stack.engine
    host = stack.roster.services[0].host
    arguments = (engine.project, engine.folder, stack.endpoint.address, host, engine.checkpoints)
    command = (sys.executable, "-m", "tests.local.run_up", *map(str, arguments))
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def engine_of(run: subprocess.Popen[bytes]) -> psutil.Process:
    """Wait for the engine of a run, and return it."""
    engines: list[psutil.Process] = []

    def found() -> bool:
        for child in psutil.Process(run.pid).children(recursive=True):
            with suppress(psutil.Error):
                if child.name() == "pulumi" and "up" in child.cmdline():
                    engines.append(child)
        return bool(engines)

    within(60, found)
    return engines[0]


def main(project: str, folder: str, agent: str, host: str, checkpoints: str) -> None:
    args = AgentRegistrationArgs(forty_roster(host=host), Connection(agent))

    def program() -> None:
        AgentRegistration("registration", args)

    Engine(toolchain.pulumi, Path(folder), Path(project), program, checkpoints=checkpoints == "True").up()


if __name__ == "__main__":
    main(*sys.argv[1:])
