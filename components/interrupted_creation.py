"""Removes what an interrupted run created and could not record, before the next run creates it again.

Pulumi writes a resource to the state after the provider has created it. If the run is killed in between, the next one
would fail: the name is taken. What is removed is as the program states it, and nobody else uses it.
https://www.pulumi.com/docs/iac/concepts/resources/options/hooks/
"""

from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from typing import Any

import pulumi
from docker.errors import DockerException
from docker.models.containers import Container
from requests.exceptions import RequestException

from components.consul_connection import Connection
from components.resource_hooks import consul_hook
from docker_engine import DockerEngine, docker_client

_MESSAGE = "the state does not have it, as after an interrupted run: it is removed, and created again"


# Nobody has the name; or the engine does not answer, and then the provider says so.
_NOTHING_TO_REMOVE = (DockerException, RequestException)


def remove_container(engine: DockerEngine) -> pulumi.ResourceHookFunction:
    """Return the hook that removes a container that is as the one which is about to be created.

    Its name, image, command, security options and labels' names are the same.
    """

    def remove(args: pulumi.ResourceHookArgs) -> None:
        stated = args.new_inputs or {}
        with suppress(*_NOTHING_TO_REMOVE):
            container = docker_client(engine).containers.get(stated["name"])
            if _is_as_stated(container, stated):
                pulumi.log.warn(f"container {container.name}: {_MESSAGE}")
                container.remove(v=True, force=True)

    return remove


def container_options(opts: pulumi.ResourceOptions, engine: DockerEngine, name: str) -> pulumi.ResourceOptions:
    """Return the options of a container: one of its name is removed first, whether the state has it or not.

    Args:
        opts: as of every resource.
        engine: that it runs in.
        name: of the container.
    """
    hooks = pulumi.ResourceHookBinding(before_create=[remove_container(engine)])
    # Of one that never started, a refresh finds that it does not run. The provider would start it as it is.
    replaced = ["mustRun"] if is_half_made(name, engine) else None
    own = pulumi.ResourceOptions(delete_before_replace=True, hooks=hooks, replace_on_changes=replaced)
    return pulumi.ResourceOptions.merge(opts, own)


def is_half_made(name: str, engine: DockerEngine) -> bool:
    """Return whether a failed run created a container and never started it. A dry run asks nobody.

    The provider connects it to its networks and writes its files after it has created it. Where one of these fails, the
    state has the container all the same, and a refresh does not see what it lacks.
    """
    return not pulumi.runtime.is_dry_run() and name in _never_started(engine, pulumi.runtime.get_root_resource())


@cache
def _never_started(engine: DockerEngine, _run: pulumi.Resource | None) -> frozenset[str]:
    """Return the names of such containers, asked once a run: an engine that is away is waited for."""
    with suppress(*_NOTHING_TO_REMOVE):
        created = docker_client(engine).containers.list(all=True, filters={"status": "created"})
        return frozenset(str(container.name) for container in created)
    return frozenset()


def _is_as_stated(container: Container, stated: Mapping[str, Any]) -> bool:
    config, host = container.attrs["Config"], container.attrs["HostConfig"]
    return (
        config["Image"] == stated["image"]
        and config["Cmd"] == stated["command"]
        and host["CapDrop"] == stated["capabilities"]["drops"]
        and host["SecurityOpt"] == stated["securityOpts"]
        and {each["label"] for each in stated.get("labels") or []} <= set(container.labels)
    )


def remove_network(engine: DockerEngine) -> pulumi.ResourceHookFunction:
    """Return the hook that removes a network of the name of the next one, if it has no containers and no labels."""

    def remove(args: pulumi.ResourceHookArgs) -> None:
        name = (args.new_inputs or {})["name"]
        with suppress(*_NOTHING_TO_REMOVE):
            found = docker_client(engine).networks.list(names=[name], greedy=True)  # a part of a name matches too
            for network in found:
                if network.name == name and not network.containers and not network.attrs["Labels"]:
                    pulumi.log.warn(f"network {name}: {_MESSAGE}")
                    network.remove()

    return remove


def remove_policy(name: str, servers: Connection) -> pulumi.ResourceHook:
    """Return the hook that removes an ACL policy with the same name and rules as the one that is about to be created.

    Its tokens are removed too, as after the loss of the state: nobody has their secrets any more. A token with another
    description than the policy's name is somebody else's, and then all stays.

    Args:
        name: of the hook.
        servers: the servers' API, with the management token.
    """

    async def remove(args: pulumi.ResourceHookArgs) -> None:
        stated = args.new_inputs or {}
        consul = await servers.consul()
        policy = consul.policy(stated["name"])
        if not policy or policy["Rules"] != stated["rules"]:
            return
        tokens = consul.policy_tokens(policy["ID"])
        if {token["Description"] for token in tokens} <= {policy["Name"]}:
            pulumi.log.warn(f"ACL policy {policy['Name']}: {_MESSAGE}")
            for token in tokens:
                consul.delete_token(token["AccessorID"])
            consul.delete_policy(policy["ID"])

    return consul_hook(name, remove)
