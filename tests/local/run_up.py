"""Run one `up` of the 40 in a process of its own, so that a test can kill its engine."""

import sys
from pathlib import Path

import toolchain
from components.endpoint import Endpoint
from components.registration.agent import AgentRegistration, AgentRegistrationArgs
from operations.engine import Engine
from tests.forty_services import forty_roster


def main(project: str, folder: str, agent: str, host: str, checkpoints: str) -> None:
    args = AgentRegistrationArgs(forty_roster(host=host), Endpoint(agent))

    def program() -> None:
        AgentRegistration("registration", args)

    Engine(toolchain.pulumi, Path(folder), Path(project), program, checkpoints=checkpoints == "True").up()


if __name__ == "__main__":
    main(*sys.argv[1:])
