from collections.abc import Sequence
from types import SimpleNamespace

import docker
import pulumi
import pytest
from docker.errors import DockerException

from components.preflight import Prerequisites, report
from tests.unit.pulumi_mocks import deploy

Objects = Sequence[object]

NETWORK = SimpleNamespace(
    name="staging_staging-network", attrs={"Driver": "bridge", "IPAM": {"Config": [{"Subnet": "172.20.0.0/16"}]}}
)


def container(name: str, status: str) -> SimpleNamespace:
    return SimpleNamespace(status=status, attrs={"Names": [f"/{name}"]})


class Engine:
    """A Docker engine that answers as Docker's SDK tells it; keeps which address it was asked at."""

    def __init__(self, networks: Objects, containers: Objects) -> None:
        self.networks = SimpleNamespace(list=lambda names: [each for each in networks if names])
        self.containers = SimpleNamespace(list=lambda **how: containers if how == {"all": True, "sparse": True} else [])


class Reported:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, networks: Objects, containers: Objects) -> None:
        self.addresses: list[object] = []
        self.lines: list[tuple[str, str]] = []
        engine = Engine(networks, containers)

        def client(host: str | None = None, use_ssh_client: bool = False) -> Engine:
            assert use_ssh_client  # as the provider reaches ssh://
            self.addresses.append(host)
            return engine

        monkeypatch.setattr(docker, "DockerClient", client)
        monkeypatch.setattr(docker, "from_env", client)
        monkeypatch.setattr(pulumi.log, "info", lambda line: self.lines.append(("info", line)))
        monkeypatch.setattr(pulumi.log, "warn", lambda line: self.lines.append(("warning", line)))

    def of(self, expected: Prerequisites, **config: str) -> list[tuple[str, str]]:
        def program() -> None:
            pulumi.runtime.set_all_config(config)
            report(expected)

        deploy(program)
        return self.lines


def test_a_network_that_exists_is_reported_with_its_driver_and_subnet(monkeypatch: pytest.MonkeyPatch) -> None:
    reported = Reported(monkeypatch, [NETWORK], []).of(Prerequisites("staging_staging-network", None, []))
    assert reported == [("info", "network staging_staging-network: found, bridge, 172.20.0.0/16")]


@pytest.mark.parametrize("networks", [[], [SimpleNamespace(name="staging_staging-network-2", attrs={})]])
def test_a_network_that_is_missing_stops_the_program(monkeypatch: pytest.MonkeyPatch, networks: Objects) -> None:
    # Docker finds networks by a part of their name.
    with pytest.raises(pulumi.RunError) as caught:
        Reported(monkeypatch, networks, []).of(Prerequisites("staging_staging-network", None, []))
    assert str(caught.value) == (
        "network staging_staging-network: missing: "
        "`docker network create staging_staging-network`, or set network: created"
    )


@pytest.mark.parametrize(
    ("containers", "line"),
    [
        ([container("staging-consul", "running")], ("info", "server staging-consul: running")),
        ([container("staging-consul", "exited")], ("warning", "server staging-consul: exited")),
        ([container("staging-consul-2", "running")], ("warning", "server staging-consul: missing")),
    ],
    ids=["running", "stopped", "missing"],
)
def test_a_server_is_reported_with_its_state(
    monkeypatch: pytest.MonkeyPatch, containers: Objects, line: tuple[str, str]
) -> None:
    assert Reported(monkeypatch, [], containers).of(Prerequisites(None, "staging-consul", [])) == [line]


def test_services_that_all_run_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    running = [container(name, "running") for name in ("isa-billing", "isa-auth")]
    reported = Reported(monkeypatch, [], running).of(Prerequisites(None, None, ["isa-billing", "isa-auth"]))
    assert reported == [("info", "services: 2 of 2 containers run")]


def test_services_that_do_not_run_are_named_with_their_state(monkeypatch: pytest.MonkeyPatch) -> None:
    there = [container("isa-billing", "running"), container("isa-auth", "exited")]
    reported = Reported(monkeypatch, [], there).of(Prerequisites(None, None, ["isa-billing", "isa-auth", "isa-order"]))
    expected = "services: 1 of 3 containers run; not isa-auth (exited), isa-order (missing)"
    assert reported == [("warning", expected)]


def test_of_more_than_five_services_that_do_not_run_five_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    reported = Reported(monkeypatch, [], []).of(Prerequisites(None, None, [f"isa-{letter}" for letter in "abcdefg"]))
    named = ", ".join(f"isa-{letter} (missing)" for letter in "abcde")
    assert reported == [("warning", f"services: 0 of 7 containers run; not {named}, and 2 more")]


def test_what_the_stack_creates_itself_is_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Reported(monkeypatch, [NETWORK], [container("isa-auth", "running")]).of(Prerequisites(None, None, [])) == []


def test_the_engine_is_the_docker_providers(monkeypatch: pytest.MonkeyPatch) -> None:
    reported = Reported(monkeypatch, [], [])
    reported.of(Prerequisites(None, None, []), **{"docker:host": "ssh://deploy@staging"})
    assert reported.addresses == ["ssh://deploy@staging"]


def test_without_an_address_it_is_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    reported = Reported(monkeypatch, [], [])
    reported.of(Prerequisites(None, None, []))
    assert reported.addresses == [None]


def test_an_engine_that_does_not_answer_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    reported = Reported(monkeypatch, [], [])

    def refuse(**_: bool) -> None:
        raise DockerException("Error while fetching server API version")

    monkeypatch.setattr(docker, "from_env", refuse)
    lines = reported.of(Prerequisites(None, "staging-consul", []))
    assert lines == [("warning", "Docker does not answer: Error while fetching server API version")]
