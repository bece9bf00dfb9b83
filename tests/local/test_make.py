"""`make up` and `make down`, as a person runs them, in a clone of their own."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from cluster.client import Consul
from operations.paths import ROOT
from tests.local.conftest import NETWORK

SERVER, AGENT, SERVICES = (f"{NETWORK}.3.{host}" for host in (1, 2, 3))


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The project as git has it, with this environment and loopback addresses of its own."""
    folder = tmp_path_factory.mktemp("clone")
    for name in tracked():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    (folder / ".local").mkdir()
    (folder / ".local" / "venv").symlink_to(ROOT / ".local" / "venv")
    stack = folder / "Pulumi.local.yaml"
    text = stack.read_text().replace("127.0.0.1", SERVER).replace("127.0.0.2", AGENT).replace("127.0.0.3", SERVICES)
    stack.write_text(text)
    yield folder
    make(folder, "down")


def tracked() -> list[str]:
    """Return the files that git has of the project."""
    listed = subprocess.run(("git", "ls-files", "-z"), cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.split("\0") if name]


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Not a part of the `make test` that these tests may run in: make would speak of folders then.
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    environment["COLUMNS"] = "120"
    return subprocess.run(
        ("make", *arguments), cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=200
    )


def processes(folder: Path) -> list[psutil.Process]:
    """Return what runs out of a clone."""
    return [p for p in psutil.process_iter() if any(str(folder) in part or SERVICES in part for part in arguments(p))]


def arguments(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_a_taken_port_is_named_with_its_owner_and_nothing_is_started(clone: Path) -> None:
    with closing(socket.socket()) as holder:
        holder.bind((SERVICES, 8216))
        holder.listen()
        result = make(clone, "up")
    assert result.returncode != 0
    assert f"{SERVICES}:8216 is taken by " in result.stderr
    assert f"(process {os.getpid()})" in result.stderr
    assert "Traceback" not in result.stderr
    assert not processes(clone)


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        (f"http://{AGENT}:8500", AGENT, f"agentAddress: '{AGENT}' must be http://HOST:PORT or https://HOST:PORT"),
        ("serviceHost: ", "serviceHosts: ", "serviceHosts: is no key of this project: the keys are "),
        ("config:\n", "config: text\nother:\n", "config: must map keys to values"),
        ("config:\n", "config: [\n", "is not YAML: "),
    ],
)
def test_a_wrong_stack_file_is_one_message_and_nothing_is_started(
    clone: Path, right: str, wrong: str, said: str
) -> None:
    stack = clone / "Pulumi.local.yaml"
    before = stack.read_text()
    stack.write_text(before.replace(right, wrong, 1))
    try:
        result = make(clone, "up")
    finally:
        stack.write_text(before)
    assert result.returncode != 0
    assert f"error: Pulumi.local.yaml: {said}" in result.stderr
    assert "Traceback" not in result.stderr
    assert not processes(clone)


def test_make_up_ends_with_40_of_40_passing_and_the_uis_address(clone: Path) -> None:
    result = make(clone, "up")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "+ 42 created" in result.stdout
    assert result.stdout.count(" passing │") == 40
    assert "40 of 40 have a _ in their names: HTTP finds them, Consul's DNS does not." in result.stdout
    assert result.stdout.endswith(f"40 of 40 passing. UI: http://{SERVER}:8500/ui\n")


def test_a_second_make_up_changes_nothing_and_says_so(clone: Path) -> None:
    before = {process.pid for process in processes(clone)}
    result = make(clone, "up")
    assert result.returncode == 0
    assert "consul: 0 of 42 processes started, 42 ran already" in result.stdout
    assert "pulumi: nothing to change" in result.stdout
    assert {process.pid for process in processes(clone)} == before


def test_a_stand_in_stops_and_starts_alone(clone: Path) -> None:
    before = len(processes(clone))
    assert make(clone, "stop", "SERVICE=billing_service").stdout == "billing_service: stopped\n"
    assert len(processes(clone)) == before - 1
    assert make(clone, "start", "SERVICE=billing_service").stdout == "billing_service: started\n"
    assert len(processes(clone)) == before


def test_a_service_that_the_roster_does_not_have_is_one_message(clone: Path) -> None:
    result = make(clone, "stop", "SERVICE=biling_service")
    assert result.returncode != 0
    assert "error: 'biling_service' is not in services/roster.py" in result.stderr


def test_the_clone_writes_nothing_outside_its_ignored_folder(clone: Path) -> None:
    files = {str(path.relative_to(clone)) for path in clone.rglob("*") if path.is_file() and ".local" not in path.parts}
    assert files == set(tracked())
    for name in ("Pulumi.yaml", "requirements.txt", "services/roster.py"):
        assert (clone / name).read_text() == (ROOT / name).read_text()


def test_make_down_destroys_and_stops_what_up_started_and_only_that(clone: Path) -> None:
    with closing(socket.socket()) as other:
        other.bind((SERVICES, 9999))
        other.listen()
        result = make(clone, "down")
        assert result.returncode == 0, result.stderr
        assert "- 42 deleted" in result.stdout
        assert "consul: 42 processes stopped" in result.stdout
        assert not processes(clone)
        assert not (clone / ".local" / "consul").exists()


def test_make_down_twice_is_no_error(clone: Path) -> None:
    result = make(clone, "down")
    assert result.returncode == 0
    assert "there is nothing to deregister" in result.stdout


def test_the_same_clone_comes_up_again(clone: Path) -> None:
    assert make(clone, "up").returncode == 0
    assert len(Consul(f"http://{AGENT}:8500").all_services()) == 40


def test_up_after_the_processes_were_killed_completes(clone: Path) -> None:
    for process in processes(clone):
        process.kill()
    psutil.wait_procs(processes(clone), timeout=5)
    result = make(clone, "up")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "40 of 40 passing" in result.stdout


def test_up_after_consuls_data_was_lost_registers_all_again(clone: Path) -> None:
    for process in processes(clone):
        process.kill()
    psutil.wait_procs(processes(clone), timeout=5)
    shutil.rmtree(clone / ".local" / "consul")
    result = make(clone, "up")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "40 of 40 passing" in result.stdout
