"""`snapshot`: saves what the servers hold, shows what a file holds, and puts it back.

https://developer.hashicorp.com/consul/commands/snapshot
"""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer

import toolchain
from consul_cluster.client import ALIVE, Consul, ConsulError, NoAnswerError
from errors import UserError
from operations.command_line import DEFAULT_STACK, StackName
from operations.output import print_line
from operations.snapshot.snapshot_files import SnapshotFile, snapshots_of
from operations.stack import Stack
from waiting import wait_until

_LEADER_SECONDS = 60
_NODES_SECONDS = 120  # an agent that was refused tries again after 15 to 30 s

app = typer.Typer(no_args_is_help=True, help="Save what Consul's servers hold, look at a file, and put it back.")

File = Annotated[Path, typer.Argument(metavar="FILE", help="The snapshot.")]


class SnapshotCommandError(UserError):
    """Consul's own command failed: has what it says."""


@app.command()
def save(
    stack: StackName = DEFAULT_STACK,
    folder: Annotated[Path, typer.Option(help="Where the file is put. It has the cluster's tokens.")] = Path(
        "snapshots"
    ),
    keep: Annotated[int | None, typer.Option(min=1, help="Remove all but so many of the stack's newest ones.")] = None,
) -> None:
    """Save the catalog, the KV store, and the ACL tokens and policies of the stack's servers."""
    loaded = Stack.load(stack)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SnapshotCommandError(f"--folder {folder}: {error.strerror}: give a folder that can be written") from None
    file = SnapshotFile.new(folder, loaded.name)
    _consul("save", file, loaded)
    file.path.chmod(0o600)
    file.write_checksum()
    print_line(_summary(file))
    for old in snapshots_of(folder, loaded.name)[keep:] if keep else []:
        old.remove()
        print_line(f"{old.path}: removed")


@app.command()
def inspect(file: File) -> None:
    """Show age, checksum and content of a snapshot. It is an error if it is not as it was saved."""
    snapshot = SnapshotFile(file)
    snapshot.verify()
    print_line(_summary(snapshot))
    print_line(_consul("inspect", snapshot))


@app.command()
def restore(file: File, stack: StackName = DEFAULT_STACK) -> None:
    """Have the stack's servers hold what a snapshot holds, and nothing else; then run `up`."""
    snapshot, loaded = SnapshotFile(file), Stack.load(stack)
    snapshot.verify()
    _consul("restore", snapshot, loaded)
    if not wait_until(lambda: _leads(loaded.server), _LEADER_SECONDS):
        raise SnapshotCommandError(f"the servers have no leader {_LEADER_SECONDS} s after the restore: see their logs")
    managed = loaded.with_role("management")
    agents, servers = managed.agents, managed.server
    containers = {host.node: host.docker.names.agent_container for host in managed.hosts}
    if not wait_until(
        lambda: all(_finds_servers(agent, servers, containers[node]) for node, agent in agents.items()), _LEADER_SECONDS
    ):
        raise SnapshotCommandError(f"an agent does not find the servers: restart {', '.join(containers.values())}")
    if not wait_until(lambda: _has_its_own_nodes(servers), _NODES_SECONDS, pause=1):
        raise SnapshotCommandError(f"a node of the lost servers is still in the catalog after {_NODES_SECONDS} s")
    print_line(f"{_summary(snapshot)}: restored. What has changed since it was saved, the next up deploys again")


def _leads(server: Consul) -> bool:
    with suppress(ConsulError):
        return bool(server.leader())
    return False


def _finds_servers(agent: Consul, servers: Consul, container: str) -> bool:
    """Return whether an agent finds the servers; if not, have them join it, by its container's name.

    New servers have other addresses than the lost ones. The agent itself cannot be asked to join: without servers, it
    knows no token.
    """
    try:
        if agent.leader():
            return True
    except NoAnswerError:  # the next `up` creates its container, and it joins by itself
        return True
    except ConsulError:  # "No known Consul servers"
        pass
    with suppress(ConsulError):
        servers.join(container)
    return False


def _has_its_own_nodes(servers: Consul) -> bool:
    """Return whether each member is in the catalog as itself; remove what has its name there, and another id.

    A snapshot has the nodes of the servers that were lost. Consul keeps a name for the node that had it first, so a new
    server could register neither itself nor, while an agent is replaced, the services that it checks meanwhile.
    https://developer.hashicorp.com/consul/docs/agent/config/config-files#node_id
    """
    with suppress(ConsulError):
        nodes = {name: node["ID"] for name, node in servers.catalog_nodes().items()}
        ids = {member["Name"]: member["Tags"]["id"] for member in servers.members() if member["Status"] == ALIVE}
        for name, own in ids.items():
            if nodes.get(name, own) != own:
                servers.deregister_node(name)
        return all(nodes.get(name) == own for name, own in ids.items())
    return False


def _summary(file: SnapshotFile) -> str:
    age, size = file.age.total_seconds(), file.path.stat().st_size
    return f"{file.path}: {size} bytes, {age / 3600:.1f} h old, SHA-256 {file.checksum}"


def _consul(verb: str, file: SnapshotFile, stack: Stack | None = None) -> str:
    """Run one of Consul's own commands; returns what it prints. The token is in its environment alone."""
    with _access(stack) as environment:
        done = subprocess.run(  # noqa: S603 - Consul's own command, and a file's name
            (str(toolchain.consul()), "snapshot", verb, str(file.path.absolute())),
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise SnapshotCommandError(f"consul snapshot {verb}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.strip()


@contextmanager
def _access(stack: Stack | None) -> Iterator[dict[str, str]]:
    if not stack:
        yield {}
        return
    credentials = stack.with_role("management").credentials
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as ca:
        ca.write(credentials.ca or "")
        ca.flush()
        yield {
            "CONSUL_HTTP_ADDR": stack.server.address,
            **({"CONSUL_CACERT": ca.name} if credentials.ca else {}),
            **({"CONSUL_HTTP_TOKEN": credentials.token} if credentials.token else {}),
        }
