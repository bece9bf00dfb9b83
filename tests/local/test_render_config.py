"""What `render-config` writes is accepted by the real Consul 1.17.2."""

import subprocess
import sys
from pathlib import Path

import toolchain
from operations.paths import ROOT


def render(folder: Path, stack: str) -> None:
    command = (sys.executable, "-m", "operations", "render-config", "--stack", stack, "--out", folder)
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def validate(folder: Path) -> str:
    result = subprocess.run(
        (toolchain.consul(), "validate", folder), capture_output=True, text=True, check=False, cwd=folder
    )
    return result.stdout + result.stderr


def test_consul_accepts_the_files_of_local(tmp_path: Path) -> None:
    render(tmp_path, "local")
    assert "Configuration is valid!" in validate(tmp_path)


def test_consul_accepts_the_files_of_staging(tmp_path: Path) -> None:
    render(tmp_path, "staging")
    file = tmp_path / "agent-config.json"
    # A machine can have several private addresses, of which Consul would not choose; a container has one.
    file.write_text(file.read_text().replace('"bind_addr": "0.0.0.0"', '"bind_addr": "127.0.0.1"'))
    assert "Configuration is valid!" in validate(tmp_path)


def test_consul_refuses_them_where_one_is_damaged(tmp_path: Path) -> None:
    render(tmp_path, "local")
    file = tmp_path / "ai-services.json"
    file.write_text(file.read_text().replace('"port"', '"prot"'))
    assert "invalid config key" in validate(tmp_path)
