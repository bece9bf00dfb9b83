"""`make up` and `make down`, as a person runs them, in a clone of their own."""

import os
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest

from tests.local.clones import Clone, new_clone
from tests.project_copy import tracked_files


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A clone that was never up."""
    clone = new_clone(tmp_path_factory.mktemp("clone"), names=())
    yield clone
    clone.make("down")


@pytest.fixture(scope="module", autouse=True)
def untouched(clone: Clone) -> dict[str, bytes]:
    """What is in the clone before anything was run in it."""
    files = contents(clone)
    assert files.keys() == set(tracked_files())
    return files


def contents(clone: Clone) -> dict[str, bytes]:
    """Return the content of each file of a clone that git does not ignore."""
    files = (path for path in clone.folder.rglob("*") if path.is_file())
    names = {str(path.relative_to(clone.folder)): path for path in files}
    return {name: path.read_bytes() for name, path in names.items() if not name.startswith(".local/")}


def host(clone: Clone) -> str:
    """Return the address of its services."""
    return clone.service("billing_service").host


def processes(clone: Clone) -> list[psutil.Process]:
    """Return what runs out of a clone."""
    its = (str(clone.folder), host(clone))
    return [p for p in psutil.process_iter() if any(word in part for part in arguments(p) for word in its)]


def arguments(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_a_taken_port_is_named_with_its_owner_and_nothing_is_started(clone: Clone) -> None:
    with closing(socket.socket()) as holder:
        holder.bind((host(clone), 8216))
        holder.listen()
        result = clone.make("up")
    assert result.returncode != 0
    assert f"{host(clone)}:8216 is taken by " in result.stderr
    assert f"(process {os.getpid()})" in result.stderr
    assert "Traceback" not in result.stderr
    assert not processes(clone)


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        (
            "agentAddress: http://",
            "agentAddress: ftp://",
            "agentAddress: 'ftp://{agent}:8500' must be http://HOST:PORT or https://HOST:PORT",
        ),
        ("serviceHost: ", "serviceHosts: ", "serviceHosts: is no key of this project: serviceHost is"),
        ("config:\n", "config: text\nother:\n", "config: must map keys to values"),
        ("config:\n", "config: [\n", "is not YAML: "),
    ],
)
def test_a_wrong_stack_file_is_one_message_and_nothing_is_started(
    clone: Clone, right: str, wrong: str, said: str
) -> None:
    stack = clone.folder / "Pulumi.local.yaml"
    before = stack.read_text()
    stack.write_text(before.replace(right, wrong, 1))
    try:
        result = clone.make("up")
    finally:
        stack.write_text(before)
    assert result.returncode != 0
    assert f"error: Pulumi.local.yaml: {said.format(agent=clone.sandbox.agent)}" in result.stderr
    assert "Traceback" not in result.stderr
    assert not processes(clone)


def test_make_up_ends_with_40_of_40_passing_and_the_uis_address(clone: Clone) -> None:
    result = clone.make("up")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "+ 42 created" in result.stdout
    assert result.stdout.count(" passing │") == 40
    assert result.stdout.endswith(f"40 of 40 passing. UI: http://{clone.sandbox.server}:8500/ui\n")


def test_a_second_make_up_changes_nothing_and_says_so(clone: Clone) -> None:
    before = {process.pid for process in processes(clone)}
    result = clone.make("up")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "consul: 0 of 42 processes started, 42 ran already" in result.stdout
    assert "pulumi: nothing to change" in result.stdout
    assert {process.pid for process in processes(clone)} == before


def test_a_proxy_of_the_shell_is_not_asked_for_this_machines_own_ports(
    clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    result = clone.make("up")
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_stand_in_stops_and_starts_alone(clone: Clone) -> None:
    before = len(processes(clone))
    assert clone.make("stop-service", "SERVICE=billing_service").stdout == "billing_service: stopped\n"
    assert len(processes(clone)) == before - 1
    assert clone.make("start-service", "SERVICE=billing_service").stdout == "billing_service: started\n"
    assert len(processes(clone)) == before


USERS, STAND_IN = "services/user_services.py", "operations/sandbox/stand_in_program.py"


@contextmanager
def edited(clone: Clone, name: str, right: str, other: str) -> Iterator[None]:
    """Have another text in a file."""
    file = clone.folder / name
    before = file.read_text()
    assert right in before
    file.write_text(before.replace(right, other))
    try:
        yield
    finally:
        file.write_text(before)


def test_a_stand_in_does_not_follow_an_edit_that_is_not_deployed(clone: Clone) -> None:
    clone.make("stop-service", "SERVICE=billing_service")
    with edited(clone, USERS, "'billing', 8216", "'billing', 8999"):
        result = clone.make("start-service", "SERVICE=billing_service")
    assert f"its line states {host(clone)}:8999: first make up STACK=local, or undo the edit" in result.stderr
    assert clone.make("start-service", "SERVICE=billing_service").stdout == "billing_service: started\n"


def test_a_preview_of_one_changed_port_shows_that_and_little_else(clone: Clone) -> None:
    with edited(clone, USERS, "'billing', 8216", "'billing', 8999"):
        result = clone.make("preview")
    assert re.search(r"port +: 8216 => 8999", result.stdout), result.stdout + result.stderr
    assert "~ 1 to update" in result.stdout
    assert len(result.stdout.splitlines()) <= 30
    assert "auth_service" not in result.stdout


def test_a_changed_port_passes_once_its_check_has_run_there(clone: Clone) -> None:
    with edited(clone, USERS, "'billing', 8216", "'billing', 8999"):
        result = clone.make("up")
        assert (result.returncode, "40 of 40 passing" in result.stdout) == (0, True), result.stdout + result.stderr
        [check] = clone.agent.checks("billing_service").values()
        assert check["Output"].startswith(f"HTTP GET http://{host(clone)}:8999/health: 200 OK")


def test_a_health_path_that_is_not_there_is_not_passing(clone: Clone) -> None:
    elsewhere = edited(clone, USERS, 'path="/health"', 'path="/nowhere"')
    with elsewhere, edited(clone, STAND_IN, "self.path in paths", 'self.path == "/health"'):
        result = clone.make("up")
        assert (result.returncode != 0, "12 of 40 passing" in result.stdout) == (True, True), result.stdout
    result = clone.make("up")
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_header_that_a_service_refuses_is_not_passing_though_no_output_shows_it(clone: Clone) -> None:
    with edited(clone, STAND_IN, "self.path in paths", '"X-Probe" not in self.headers and self.path in paths'):
        clone.make("stop-service", "SERVICE=billing_service")
        clone.make("start-service", "SERVICE=billing_service")
    with edited(clone, USERS, 'path="/health"', 'path="/health", header={"X-Probe": ("consul",)}'):
        result = clone.make("up")
    assert (result.returncode != 0, "39 of 40 passing" in result.stdout) == (True, True), result.stdout + result.stderr
    clone.make("stop-service", "SERVICE=billing_service")
    clone.make("start-service", "SERVICE=billing_service")


def test_a_service_that_the_roster_does_not_have_is_one_message(clone: Clone) -> None:
    result = clone.make("stop-service", "SERVICE=biling_service")
    assert result.returncode != 0
    assert "error: there is no service 'biling_service' in services/" in result.stderr


def test_the_clone_writes_nothing_outside_its_ignored_folder(clone: Clone, untouched: dict[str, bytes]) -> None:
    assert contents(clone) == untouched


def test_make_down_destroys_and_stops_what_up_started_and_only_that(clone: Clone) -> None:
    with closing(socket.socket()) as other:
        other.bind((host(clone), 9999))
        other.listen()
        result = clone.make("down")
        assert result.returncode == 0, result.stderr
        assert "- 42 deleted" in result.stdout
        assert "consul: 42 processes stopped" in result.stdout
        assert not processes(clone)
        assert not (clone.folder / ".local" / "consul-local").exists()


def test_services_may_be_on_the_loopback_address_of_ipv6(tmp_path: Path) -> None:
    clone = new_clone(tmp_path, names=("billing_service", "minio_grpc_service"))
    settings = clone.folder / "Pulumi.local.yaml"
    settings.write_text(settings.read_text().replace(f"serviceHost: {host(clone)}", 'serviceHost: "::1"'))
    try:
        result = clone.make("up")
        assert (result.returncode, "2 of 2 passing" in result.stdout) == (0, True), result.stdout + result.stderr
        [check] = clone.agent.checks("billing_service").values()
        assert check["Output"].startswith("HTTP GET http://[::1]:8216/health: 200 OK")
    finally:
        clone.make("down")


def test_heal_of_a_destroyed_stack_is_well_and_leaves_it_so(clone: Clone) -> None:
    result = clone.make("heal")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "stack local: nothing is deployed, so there is nothing to heal" in result.stderr
    assert not processes(clone)


def test_make_down_twice_is_no_error(clone: Clone) -> None:
    result = clone.make("down")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "there is nothing to deregister" in result.stdout


def test_the_same_clone_comes_up_again(clone: Clone) -> None:
    result = clone.make("up")
    assert result.returncode == 0, result.stdout + result.stderr
    assert len(clone.agent.all_services()) == 40


def test_up_after_the_processes_were_killed_completes(clone: Clone) -> None:
    for process in processes(clone):
        process.kill()
    psutil.wait_procs(processes(clone), timeout=5)
    result = clone.make("up")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "40 of 40 passing" in result.stdout


def test_up_after_consuls_data_was_lost_registers_all_again(clone: Clone) -> None:
    for process in processes(clone):
        process.kill()
    psutil.wait_procs(processes(clone), timeout=5)
    shutil.rmtree(clone.folder / ".local" / "consul-local")
    result = clone.make("up")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "40 of 40 passing" in result.stdout
