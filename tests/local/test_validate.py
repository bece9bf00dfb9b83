"""Both spellings of the 40, and both agent configurations, are accepted by the real Consul 1.17.2."""

import json
import subprocess
from pathlib import Path

import pytest

import toolchain
from consul_cluster.agent_configuration import agent_config, server_config
from consul_cluster.cluster_names import STAGING_NAMES
from services.consul_definition import definition_file
from tests.forty_services import forty_roster

HOST = (
    "127.0.0.1"  # a machine can have several private addresses, of which Consul would not choose; a container has one
)


def validate(folder: Path) -> str:
    """Return what `consul validate` says of a folder of configuration files."""
    command = (toolchain.consul(), "validate", folder)
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout + result.stderr


@pytest.mark.parametrize("kind", ["user", "ai", "grpc"])
def test_consul_accepts_the_definition_file_of_each_group(tmp_path: Path, kind: str) -> None:
    content = definition_file(forty_roster().of_kind(kind))
    (tmp_path / f"{kind}-services.json").write_text(json.dumps(content))
    (tmp_path / "agent-config.json").write_text(
        json.dumps(agent_config(STAGING_NAMES, "staging-consul", HOST, HOST) | {"data_dir": "/consul/data"})
    )
    assert "Configuration is valid!" in validate(tmp_path)


def test_consul_accepts_the_servers_configuration(tmp_path: Path) -> None:
    (tmp_path / "server.json").write_text(
        json.dumps(server_config(STAGING_NAMES, HOST, HOST) | {"data_dir": "/consul/data"})
    )
    assert "Configuration is valid!" in validate(tmp_path)


def test_consul_refuses_a_misspelt_key(tmp_path: Path) -> None:
    content = definition_file(forty_roster().of_kind("ai"))
    content["services"][0]["prot"] = 1
    (tmp_path / "ai-services.json").write_text(json.dumps(content))
    assert "invalid config key services[0].prot" in validate(tmp_path)
