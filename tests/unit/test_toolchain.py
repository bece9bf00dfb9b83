import hashlib
import io
import os
import platform
import re
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pulumi.automation import PulumiCommand
from rich.console import Console

import toolchain
from errors import UserError
from toolchain import consul_program, progress, pulumi_program

ROOT = Path(__file__).parents[2]
PROVIDER = "pulumi-resource-pulumi-python"
NOBODY = "http://127.0.0.1:1"

# Builds what says the version that it was given, named like the module it is run in; then does what a test wants of it.
GO = """#!/bin/sh
PATH=/usr/bin:/bin
[ "$1" = list ] && echo '{sdk}' && exit
for argument; do
  case $argument in
    -ldflags=*) version=${{argument##*=}} ;;
    */bin/) folder=$argument ;;
  esac
done
mkdir -p "$folder"
program=$folder/${{PWD##*/}}
printf '#!/bin/sh\\necho %s\\n' "$version" > "$program"
chmod +x "$program"
{then}
"""


class Machine:
    """One without programs and without a network, whose cache is empty."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "path"
        self.cache = folder / "cache" / "consul-staging"

    def kept(self) -> list[str]:
        return sorted(str(file.relative_to(self.cache)) for file in self.cache.rglob("*") if file.is_file())

    def go(self, then: str = "") -> None:
        sdk = self.folder / "sdk"
        executable(sdk / "python" / "dist" / PROVIDER, "")
        executable(self.path / "go", GO.format(sdk=sdk, then=then))

    def says(self, folder: Path, name: str, version: str) -> Path:
        return executable(folder / name, f"#!/bin/sh\necho '{version}'\n")


def executable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    machine.path.mkdir()
    monkeypatch.setenv("PATH", str(machine.path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(machine.cache.parent))
    monkeypatch.setenv("https_proxy", NOBODY)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setattr(consul_program, "RELEASES", NOBODY)
    toolchain.pulumi.cache_clear()
    toolchain.consul.cache_clear()
    yield machine
    toolchain.pulumi.cache_clear()
    toolchain.consul.cache_clear()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name it has there
        pass


@pytest.fixture
def release(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A release of Consul, served; the file of its checksums."""
    folder = machine.folder / "releases" / "1.17.2"
    folder.mkdir(parents=True)
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    archive = folder / f"consul_1.17.2_{platform.system().lower()}_{architecture}.zip"
    with zipfile.ZipFile(archive, "w") as files:
        files.writestr("LICENSE.txt", "terms")
        files.writestr("consul", "#!/bin/sh\necho 'Consul v1.17.2'\n")
    sums = folder / "consul_1.17.2_SHA256SUMS"
    sums.write_text(f"{hashlib.sha256(archive.read_bytes()).hexdigest()}  {archive.name}\n")
    handler = partial(_Quiet, directory=str(folder.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setattr(consul_program, "RELEASES", f"http://127.0.0.1:{server.server_port}")
        yield sums
        server.shutdown()


Said = pytest.CaptureFixture[str]


@pytest.mark.parametrize("version", [f"v{pulumi_program.VERSION}", "v3.999.1"])
def test_a_pulumi_on_path_that_suits_is_used(machine: Machine, version: str) -> None:
    machine.says(machine.path, PROVIDER, "")
    program = machine.says(machine.path, "pulumi", version)

    assert toolchain.pulumi() == program
    assert not machine.cache.exists()


def test_a_pulumi_on_path_may_be_a_link_to_where_its_provider_is(machine: Machine) -> None:
    machine.says(machine.folder / "cellar", PROVIDER, "")
    program = machine.says(machine.folder / "cellar", "pulumi", f"v{pulumi_program.VERSION}")
    (machine.path / "pulumi").symlink_to(program)

    assert toolchain.pulumi() == machine.path / "pulumi"


@pytest.mark.parametrize("version", ["1.17.0", "1.17.2", "1.17.2+ent", "1.21.5", "2.0.0"])
def test_a_consul_on_path_from_1_17_on_is_used(machine: Machine, version: str) -> None:
    program = machine.says(machine.path, "consul", f"Consul v{version}")

    assert toolchain.consul() == program
    assert not machine.cache.exists()


@pytest.mark.parametrize(
    ("version", "has"),
    [("v3.259.9", "is 3.259.9"), ("v4.0.0", "is 4.0.0"), ("v2.999.0", "is 2.999.0"), ("", "is of an unknown version")],
)
def test_a_pulumi_on_path_that_the_sdk_does_not_fit_is_passed_by_with_a_message(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: Said, version: str, has: str
) -> None:
    monkeypatch.setattr(pulumi_program, "VERSION", "3.260.0")
    machine.says(machine.path, PROVIDER, "")
    machine.says(machine.path, "pulumi", version)
    machine.go()

    assert toolchain.pulumi().is_relative_to(machine.cache)
    assert f"pulumi on PATH {has}, this needs 3.260.0 or a later 3\n" in capsys.readouterr().err


def test_a_pulumi_without_its_python_provider_is_passed_by_with_a_message(machine: Machine, capsys: Said) -> None:
    machine.says(machine.path, "pulumi", f"v{pulumi_program.VERSION}")
    machine.go()

    assert toolchain.pulumi().is_relative_to(machine.cache)
    assert f"pulumi in {machine.path} is incomplete: put {PROVIDER}, from" in capsys.readouterr().err


def test_where_a_pulumi_without_its_provider_is_all_there_is_the_error_says_how_to_complete_it(
    machine: Machine,
) -> None:
    machine.says(machine.path, "pulumi", f"v{pulumi_program.VERSION}")
    with pytest.raises(UserError) as error:
        toolchain.pulumi()

    assert "Install pulumi" not in str(error.value)
    last = str(error.value).splitlines()[-1]
    assert last == f"pulumi in {machine.path} is incomplete: put {PROVIDER}, from the same archive, beside it"
    assert str(error.value).count(last) == 1


@pytest.mark.parametrize("version", ["1.16.9", "0.99.0"])
def test_an_older_consul_is_passed_by_with_a_message(machine: Machine, capsys: Said, version: str) -> None:
    machine.says(machine.path, "consul", f"Consul v{version}")
    machine.go()

    assert toolchain.consul().is_relative_to(machine.cache)
    assert f"consul on PATH is {version}, this needs 1.17.2 or another one from 1.17 on\n" in capsys.readouterr().err


def test_our_own_copy_is_used_without_a_network(machine: Machine, capsys: Said) -> None:
    program = machine.says(machine.cache / "consul-1.17.2" / "bin", "consul", "Consul v1.17.2")

    assert toolchain.consul() == program
    assert capsys.readouterr().err == f"consul 1.17.2: using our own copy, {program}\n"


def test_what_was_got_once_is_there_for_the_next_clone(machine: Machine) -> None:
    machine.go()
    first = toolchain.consul()
    (machine.path / "go").unlink()

    assert toolchain.consul() == first


def test_a_broken_copy_of_our_own_is_replaced(machine: Machine) -> None:
    executable(machine.cache / "consul-1.17.2" / "bin" / "consul", "half a program")
    machine.go()

    assert toolchain.consul().read_text() == "#!/bin/sh\necho v1.17.2\n"


@pytest.mark.usefixtures("release")
def test_a_release_whose_checksum_is_right_is_installed(machine: Machine) -> None:
    program = toolchain.consul()

    assert program == machine.cache / "consul-1.17.2" / "bin" / "consul"
    assert subprocess.check_output([program], text=True) == "Consul v1.17.2\n"
    assert machine.kept() == ["consul-1.17.2/bin/consul"]


def test_a_release_whose_checksum_is_wrong_is_refused_and_nothing_replaces_it(machine: Machine, release: Path) -> None:
    release.write_text(re.sub(r"^\w{64}", "0" * 64, release.read_text()))
    machine.go()

    with pytest.raises(toolchain.ToolchainError, match=f"was not installed: its SHA256 is .*, not {'0' * 64}"):
        toolchain.consul()
    assert list(machine.cache.iterdir()) == []


@pytest.mark.parametrize("sums", ["<html>Log in to this network</html>", "0" * 64 + "  consul_1.17.2_plan9_386.zip\n"])
def test_a_release_that_is_not_for_this_machine_falls_through_to_go(
    machine: Machine, release: Path, capsys: Said, sums: str
) -> None:
    release.write_text(sums)
    machine.go()

    assert toolchain.consul().read_text() == "#!/bin/sh\necho v1.17.2\n"
    assert "the release has no consul_1.17.2_" in capsys.readouterr().err


def test_a_release_that_is_refused_falls_through_to_go(machine: Machine, release: Path, capsys: Said) -> None:
    release.unlink()
    machine.go()

    assert toolchain.consul().read_text() == "#!/bin/sh\necho v1.17.2\n"
    assert "SHA256SUMS answered 404\n" in capsys.readouterr().err


def test_a_release_that_is_out_of_reach_falls_through_to_go(machine: Machine, capsys: Said) -> None:
    machine.go()

    assert toolchain.consul() == machine.cache / "consul-1.17.2" / "bin" / "consul"
    assert re.fullmatch(
        "consul 1.17.2: downloading its official release\n"
        "consul: downloading its official release failed: .*/consul_1.17.2_SHA256SUMS cannot be reached .*\n"
        r"consul 1.17.2: building from its Go module \(3 to 5 minutes, once\)\n",
        capsys.readouterr().err,
    )


def test_an_installer_that_is_out_of_reach_falls_through_to_go(machine: Machine, capsys: Said) -> None:
    machine.go()
    kept = f"pulumi-{pulumi_program.VERSION}/bin"

    assert toolchain.pulumi() == machine.cache / kept / "pulumi"
    assert machine.kept() == [f"{kept}/pulumi", f"{kept}/{PROVIDER}"]
    assert os.access(machine.cache / kept / PROVIDER, os.X_OK)
    assert "pulumi: installing with the SDK's own installer failed: " in capsys.readouterr().err


def test_what_the_sdks_installer_installs_is_kept_whole(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def install(root: str, **_: object) -> None:
        machine.says(Path(root, "bin"), "pulumi", f"v{pulumi_program.VERSION}")
        machine.says(Path(root, "bin"), PROVIDER, "")

    monkeypatch.setattr(PulumiCommand, "install", install)
    kept = f"pulumi-{pulumi_program.VERSION}/bin"

    assert toolchain.pulumi() == machine.cache / kept / "pulumi"
    assert machine.kept() == [f"{kept}/pulumi", f"{kept}/{PROVIDER}"]


def test_without_go_one_error_names_every_way_that_was_tried(machine: Machine) -> None:
    with pytest.raises(toolchain.ToolchainError) as error:
        toolchain.pulumi()

    head, *tried, advice = str(error.value).splitlines()
    assert head == f"pulumi {pulumi_program.VERSION} cannot be had:"
    assert [line.partition(" failed")[0] for line in tried] == [
        "- pulumi: not on PATH",
        "- pulumi: no copy of our own yet",
        "- pulumi: installing with the SDK's own installer",
        "- pulumi: building from its Go module (3 to 5 minutes, once)",
    ]
    assert tried[-1].endswith("there is no go on PATH")
    assert re.search(r"https://www\.pulumi\.com/.* or Go 1\.26\.\d+ or newer \(https://go\.dev/dl/\)", advice)
    assert machine.kept() == []


def test_the_error_of_a_failed_build_has_the_last_lines_that_it_printed(machine: Machine) -> None:
    machine.go(then="for line in $(seq 40); do echo line $line >&2; done; exit 7")

    with pytest.raises(
        toolchain.ToolchainError, match=r"failed: go exited with 7\n  line 31\n(  line \d+\n){8}  line 40"
    ):
        toolchain.consul()
    assert machine.kept() == []


def test_a_build_that_makes_an_older_version_is_not_kept(machine: Machine) -> None:
    machine.go(then="printf '#!/bin/sh\\necho v1.16.9\\n' > \"$program\"")

    with pytest.raises(toolchain.ToolchainError, match=r"what came of it is 1\.16\.9, this needs 1\.17\.2 or"):
        toolchain.consul()
    assert machine.kept() == []


def test_an_interrupted_build_leaves_nothing(machine: Machine) -> None:
    machine.go(then="kill -INT $PPID; exec sleep 5")
    # What a shell runs in the background ignores the signal, and so would these tests there.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    try:
        with pytest.raises(KeyboardInterrupt):
            toolchain.consul()
    finally:
        signal.signal(signal.SIGINT, before)
    assert list(machine.cache.iterdir()) == []


def test_a_killed_build_leaves_nothing_that_is_used(machine: Machine) -> None:
    machine.go(then="kill -KILL $PPID")
    main = subprocess.run([sys.executable, "-m", "toolchain"], cwd=ROOT, check=False, capture_output=True)

    assert main.returncode < 0
    assert [name for name in machine.kept() if name.startswith(f"pulumi-{pulumi_program.VERSION}")] == []


def test_a_cache_that_cannot_be_written_is_an_error_for_a_person(machine: Machine) -> None:
    machine.cache.parent.write_text("a file where the folder should be")
    machine.go()

    with pytest.raises(toolchain.ToolchainError, match=f"failed: .*{machine.cache.parent}"):
        toolchain.consul()


def test_the_command_ends_with_a_message_and_no_trace(machine: Machine) -> None:
    main = subprocess.run([sys.executable, "-m", "toolchain"], cwd=ROOT, check=False, capture_output=True, text=True)

    assert (main.returncode, main.stdout) == (1, "")
    assert f"pulumi {pulumi_program.VERSION} cannot be had:\n" in main.stderr
    assert "Traceback" not in main.stderr
    assert machine.kept() == []


def test_the_command_prints_both_paths(machine: Machine) -> None:
    machine.says(machine.path, PROVIDER, "")
    pulumi = machine.says(machine.path, "pulumi", f"v{pulumi_program.VERSION}")
    consul = machine.says(machine.path, "consul", "Consul v1.17.2")

    main = subprocess.check_output([sys.executable, "-m", "toolchain"], cwd=ROOT, text=True)
    assert main == f"{pulumi}\n{consul}\n"


def test_a_long_build_that_is_piped_prints_now_and_then_that_it_is_still_building(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.1)
    machine.go(then="sleep 0.7")

    toolchain.consul()
    said = re.findall(r"^consul: still building, (\d) s$", capsys.readouterr().err, re.MULTILINE)
    assert len(said) > 1
    assert (said[0], said[-1]) == ("0", "1")


def test_a_long_build_on_a_terminal_shows_how_long_it_takes_in_place(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")  # a dumb one cannot go back in its line
    terminal = Console(file=io.StringIO(), force_terminal=True, color_system=None)
    monkeypatch.setattr(progress, "_console", terminal)
    machine.go(then="sleep 1.2")

    toolchain.consul()
    assert isinstance(terminal.file, io.StringIO)
    assert re.search(r"\r.* consul: building 0:00:01", terminal.file.getvalue())


def test_go_builds_the_pulumi_that_requirements_pin() -> None:
    pinned = re.search(r"^pulumi==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    module = (ROOT / "toolchain" / "go" / "pulumi" / "go.mod").read_text()

    assert pinned
    assert re.findall(r"pulumi/pulumi/(?:pkg|sdk)/v3 v(\S+)", module) == [pinned[1]] * 2


def test_go_builds_the_consul_that_staging_runs() -> None:
    module = (ROOT / "toolchain" / "go" / "consul" / "go.mod").read_text()

    assert re.findall(r"hashicorp/consul v(\S+)", module) == [consul_program.VERSION]
