"""`render-config`: writes the agent's configuration and the definition files."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from consul_cluster.agent_configuration import agent_config, bind_address
from consul_cluster.cluster_names import ClusterNames
from consul_cluster.ownership import DEFINITION_FILES, roster_with_owner
from consul_cluster.security_stages import stage_config
from operations.command_line import DEFAULT_STACK, StackName
from operations.rendered_files import OUT, write_files
from operations.stack import Stack, StackHost
from services.consul_definition import definition_files

# The image gives it on the command line. A file that is validated alone must name it.
_DATA = "/consul/data"


def render_config(stack: StackName = DEFAULT_STACK, out: Annotated[Path | None, OUT] = None) -> None:
    """Write agent-config.json, user-services.json, ai-services.json and grpc-services.json, as an agent reads them.

    Without --out, print one JSON object that holds them by name, such as for `jq '."user-services.json"'`.

    Two runs give the same bytes. Consul is not asked: `consul validate DIR` judges them.
    """
    files = contents(Stack.load(stack))
    if out is None:
        sys.stdout.write(_text(files))
        return
    write_files(out, {name: _text(content) for name, content in files.items()})


def contents(stack: Stack) -> Mapping[str, Any]:
    """Return what each file holds, by its name; those of one of several hosts are in a folder of its name."""
    return {
        f"{host.docker.name}/{name}" if host.docker.name else name: content
        for host in stack.hosts
        for name, content in _contents(stack, host).items()
    }


def _contents(stack: Stack, host: StackHost) -> Mapping[str, Any]:
    owned = roster_with_owner(host.roster, stack.owner_prefix + DEFINITION_FILES)
    agent = {**_addressed(stack, host.docker.names), **stage_config(stack.settings.stage), "data_dir": _DATA}
    return {"agent-config.json": agent, **definition_files(owned)}


def _addressed(stack: Stack, names: ClusterNames) -> dict[str, Any]:
    config = stack.settings
    if not config.sandbox or not config.agent_address:
        return agent_config(names, names.retry_join, bind_address(names))
    server, agent = (urlsplit(url).hostname or "" for url in (config.server_address, config.agent_address))
    return agent_config(names, server, agent, agent)


def _text(content: object) -> str:
    return json.dumps(content, indent=2) + "\n"
