"""A stack's config that is wrong is one clear error of the real engine, before anything is created."""

from pathlib import Path
from typing import Any

import pytest
import yaml

import toolchain
from operations.engine import Engine, EngineError
from operations.paths import ROOT

RIGHT = {"agentAddress": "http://127.0.0.1:9", "serverAddress": "http://127.0.0.1:9"}
URL = "must be http://HOST:PORT or https://HOST:PORT, and nothing else"
EXACT_TAG = "must be an image with an exact tag, such as hashicorp/consul:1.17.2, and not latest"
WRONG: list[tuple[str, Any, str]] = [
    ("agentAddress", "127.0.0.1:8500", f"agentAddress: '127.0.0.1:8500' {URL}"),
    ("agentAddress", "http://127.0.0.1", f"agentAddress: 'http://127.0.0.1' {URL}"),
    ("agentAddress", "http://127.0.0.1:0", f"agentAddress: 'http://127.0.0.1:0' {URL}"),
    ("agentAddress", "http://127.0.0.1:65536", f"agentAddress: 'http://127.0.0.1:65536' {URL}"),
    ("agentAddress", "http://127.0.0.1:https", f"agentAddress: 'http://127.0.0.1:https' {URL}"),
    ("agentAddress", "ftp://127.0.0.1:21", f"agentAddress: 'ftp://127.0.0.1:21' {URL}"),
    (
        "agentAddress",
        "http://me:pw@127.0.0.1:1",
        "agentAddress: must be http://HOST:PORT or https://HOST:PORT, without a user",
    ),
    ("agentAddress", "http://127.0.0.1:1/v1", f"agentAddress: 'http://127.0.0.1:1/v1' {URL}"),
    ("agentAddress", "http://0.0.0.0:8500", f"agentAddress: 'http://0.0.0.0:8500' {URL}"),
    ("serverAddress", "http://[::1:8500", f"serverAddress: 'http://[::1:8500' {URL}"),
    ("registration", "consul", "registration: 'consul': input should be "),
    ("agentCaFile", "/no/such.pem", "agentCaFile: '/no/such.pem' must be a PEM file that exists where Pulumi runs"),
    ("environment", "my staging", "environment: 'my staging' must be 1 to 63 letters, digits and dashes"),
    ("environment", "", "environment: '' must be 1 to 63 letters, digits and dashes"),
    ("serviceHost", "10.0.0.300", "serviceHost: '10.0.0.300' is neither a host name nor an IP address"),
    ("serviceHost", "0.0.0.0", "serviceHost: '0.0.0.0' is every interface, not a host"),  # noqa: S104
    ("serviceHost", "isa billing", "serviceHost: 'isa billing' is neither a host name nor an IP address"),
    (
        "agentToken",
        "in-plain-text",
        "agentToken: is in plain text: set it with `pulumi config set --secret agentToken`",
    ),
    ("agentAdress", "http://127.0.0.1:1", "agentAdress: is no key of this project: the keys are registration, "),
    ("adopt", "perhaps", "'adopt' must be of type 'boolean'"),
    ("network", "maybe", "network: 'maybe': input should be 'created' or 'existing'"),
    ("consulImage", "hashicorp/consul", f"consulImage: 'hashicorp/consul' {EXACT_TAG}"),
    ("consulImage", "hashicorp/consul:latest", f"consulImage: 'hashicorp/consul:latest' {EXACT_TAG}"),
    ("publishOn", "eth0", "publishOn: 'eth0' must be an IP address of the Docker host, such as 127.0.0.1"),
    ("agentAddress", None, "agentAddress"),
    ("agentAddress", ["http://127.0.0.1:1"], "'agentAddress' must be of type 'string'"),
]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("config")
    (folder / "Pulumi.yaml").write_text((ROOT / "Pulumi.yaml").read_text())
    return Engine(toolchain.pulumi, folder / "pulumi", folder)


def preview(engine: Engine, config: dict[str, Any]) -> str:
    """Preview the whole program with a config; returns what the engine says when it stops."""
    keys = {f"consul-staging:{key}": value for key, value in config.items()}
    stack = engine.project / "Pulumi.local.yaml"
    salt = yaml.safe_load((ROOT / "Pulumi.local.yaml").read_text())["encryptionsalt"]
    stack.write_text(yaml.safe_dump({"encryptionsalt": salt, "config": keys}))
    said: list[str] = []
    with pytest.raises(EngineError):
        Engine(engine.pulumi, engine.folder, engine.project, say=said.append).preview()
    return "\n".join(said)


@pytest.mark.parametrize(("key", "value", "error"), WRONG)
def test_a_wrong_config_is_one_clear_error(engine: Engine, key: str, value: object, error: str) -> None:
    said = preview(engine, RIGHT | {key: value})
    assert error in said
    assert "Traceback" not in said
    assert "AgentService" not in said


def test_a_missing_key_is_named(engine: Engine, tmp_path: Path) -> None:
    said = preview(engine, {"serverAddress": RIGHT["serverAddress"]})
    assert "agentAddress" in said
    assert "Traceback" not in said
