"""A stack's config that is wrong is one clear error of the real engine, before anything is created."""

from pathlib import Path
from typing import Any

import pytest
import yaml

import toolchain
from operations.paths import ROOT
from operations.pulumi_engine import Engine, EngineError

RIGHT = {"agentAddress": "http://127.0.0.1:9", "serverAddress": "http://127.0.0.1:9"}
URL = "must be http://HOST:PORT or https://HOST:PORT, and nothing else"
EXACT_TAG = "must be an image with an exact tag, such as hashicorp/consul:1.17.2, and not latest"

# Which values are wrong, and what is said of them, is in tests/unit/test_settings.py.
WRONG_AT_ONCE = {
    "agentAddress": ("127.0.0.1:8500", f"'127.0.0.1:8500' {URL}"),
    "serverAddress": ("http://[::1:8500", f"'http://[::1:8500' {URL}"),
    "registration": ("consul", "'consul': input should be "),
    "agentCaFile": ("/no/such.pem", "'/no/such.pem' must be a PEM file that exists where Pulumi runs"),
    "environment": ("my staging", "'my staging' must be 1 to 63 letters, digits and dashes"),
    "serviceHost": ("10.0.0.300", "'10.0.0.300' is neither a host name nor an IP address"),
    "agentAdress": ("http://127.0.0.1:1", "is no key of this project: agentAddress is"),
    "network": ("maybe", "'maybe': input should be 'created' or 'existing'"),
    "consulImage": ("hashicorp/consul:latest", f"'hashicorp/consul:latest' {EXACT_TAG}"),
    "publishOn": ("eth0", "'eth0' must be an IP address of the Docker host, such as 127.0.0.1"),
}
WRONG: list[tuple[str, Any, str]] = [
    (
        "agentAddress",
        "http://me:pw@127.0.0.1:1",
        "agentAddress: must be http://HOST:PORT or https://HOST:PORT, without a user",
    ),
    (
        "agentToken",
        "in-plain-text",
        "agentToken: is in plain text: pulumi config set --stack local --secret agentToken",
    ),
    ("environment", "", "environment: '' must be 1 to 63 letters, digits and dashes"),
    ("adopt", "perhaps", "'adopt' must be of type 'boolean'"),
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
        Engine(engine.pulumi, engine.folder, engine.project, print_line=said.append).preview()
    return "\n".join(said)


@pytest.mark.parametrize(("key", "value", "error"), WRONG)
def test_a_wrong_config_is_one_clear_error(engine: Engine, key: str, value: object, error: str) -> None:
    said = preview(engine, RIGHT | {key: value})
    assert error in said
    assert "Traceback" not in said
    assert "AgentService" not in said


def test_all_that_is_wrong_is_told_at_once(engine: Engine) -> None:
    said = preview(engine, {key: value for key, (value, _) in WRONG_AT_ONCE.items()})
    assert [key for key, (_, error) in WRONG_AT_ONCE.items() if f"{key}: {error}" not in said] == []
    assert "Traceback" not in said
    assert "AgentService" not in said


def test_a_missing_key_is_named(engine: Engine, tmp_path: Path) -> None:
    said = preview(engine, {"serverAddress": RIGHT["serverAddress"]})
    assert "agentAddress" in said
    assert "Traceback" not in said
