"""A gateway: nginx, with the files that consul-template writes of the project's templates."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import urllib3

import toolchain
from consul_cluster.agent_configuration import consul_template_config
from consul_cluster.cluster_names import STAGING_NAMES
from consul_cluster.template_files import read_templates
from operations.paths import ROOT
from operations.sandbox.sandbox import Sandbox, write_config
from services.environment import Environment
from services.roster import Roster
from services.user_services import USER
from tests.forty_services import FORTY, forty_roster
from tests.local.loopback import new_addresses
from tests.local.stacks import register
from tests.statuses import require_passing
from tests.waiting import within

CONSUL_TEMPLATE = "v0.41.1"
HTTP = [line.name for line in FORTY if line.kind != "grpc"]
SECOND_BILLING = "billing_service_2"  # on a port of its own
_SECOND_PORT = 9216
_PORT = 8080  # as in the template

_NGINX = """
daemon off;
error_log {folder}/error.log notice;
pid {folder}/nginx.pid;
events {{}}
http {{
    log_format upstream '$status $upstream_addr';
    access_log {folder}/access.log upstream;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    include {files}/*.conf;
}}
"""


def program(name: str) -> str | None:
    """Return the path of a program; Debian has nginx where PATH need not lead to."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin")


def _program(name: str) -> str:
    found = program(name)
    assert found, f"{name} is not here"
    return found


@dataclass(frozen=True)
class Gateway:
    """What runs.

    Attributes:
        sandbox: Consul, and a stand-in of each service.
        files: the folder that consul-template writes into.
        url: of nginx.
        nginx: the folder of its logs.
        consul_template: its process.
    """

    sandbox: Sandbox
    files: Path
    url: str
    nginx: Path
    consul_template: subprocess.Popen[bytes]

    def get(self, service: str) -> int:
        """Return the HTTP status of a service's /health, through nginx."""
        return urllib3.request("GET", f"{self.url}/{service}/health", retries=False, timeout=5).status

    def answering(self, services: Sequence[str]) -> dict[str, int]:
        """Return the HTTP status of each of some services."""
        return {service: self.get(service) for service in services}

    @property
    def reloads(self) -> int:
        """How often nginx was told to read its configuration again."""
        return len(re.findall(r"\(SIGHUP\) received from", (self.nginx / "error.log").read_text()))

    @property
    def written(self) -> Mapping[str, str]:
        """What the files have, by their names."""
        return {path.name: path.read_text() for path in self.files.iterdir() if path.suffix}

    def upstreams(self, service: str) -> list[str]:
        """Return the addresses of a service's upstream in nginx's file."""
        found = re.search(rf"upstream {service} {{(.*?)}}", self.written["nginx-upstreams.conf"], re.DOTALL)
        return re.findall(r"server (\S+);", found[1]) if found else []

    def answered_by(self) -> list[tuple[str, str]]:
        """Return the status of each request that nginx has answered, and the addresses that it asked."""
        lines = (self.nginx / "access.log").read_text().splitlines()
        return [(status, asked) for status, _, asked in (line.partition(" ") for line in lines)]


def _roster(host: str) -> Roster:
    second = USER.service(Environment("staging", host), "billing", _SECOND_PORT, id=SECOND_BILLING, container="isa-2")
    return Roster(services=(*forty_roster(host=host).services, second))


@contextmanager
def gateway(folder: Path) -> Iterator[Gateway]:
    """Start everything, and wait until each service is found; stop everything at the end."""
    server, agent, services = new_addresses()
    sandbox = Sandbox(toolchain.consul, server, agent, _roster(services), folder / "consul")
    files = folder / "files"
    files.mkdir()
    config = _write_templates(folder, agent, new_addresses().services, files)
    nginx = _write_nginx(folder / "nginx", files)
    with ExitStack() as processes:
        processes.callback(sandbox.stop)
        sandbox.start()
        for service in sandbox.roster.services:
            register(sandbox, service)
        require_passing(sandbox.agent_api, sandbox.roster, 45)
        consul_template = processes.enter_context(_running(folder, _program("consul-template"), f"-config={config}"))
        processes.enter_context(_running(folder, "sh", str(nginx / "reload.sh")))
        processes.enter_context(_running(folder, str(nginx / "nginx")))
        started = Gateway(sandbox, files, f"http://{_listen(folder)}", nginx, consul_template)
        within(20, lambda: _answers(started))
        yield started


@contextmanager
def _running(folder: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program, and end it and what it started: as when a container ends."""
    with (folder / "output.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)


def _answers(started: Gateway) -> bool:
    try:
        return all(status == 200 for status in started.answering(HTTP).values())
    except urllib3.exceptions.HTTPError:
        return False


def _write_templates(folder: Path, agent: str, address: str, files: Path) -> Path:
    """Write the project's templates, with an address that is free here, and consul-template's configuration."""
    templates = folder / "templates"
    templates.mkdir()
    for template in read_templates(str(ROOT / "templates")):
        (templates / template.source).write_text(
            template.content.replace(f"listen {_PORT};", f"listen {address}:{_PORT};")
        )
    paths = {str(templates / each.source): str(files / each.destination) for each in read_templates(str(templates))}
    config = consul_template_config(replace(STAGING_NAMES, agent_container=agent), paths)
    write_config(config, "consul-template", folder)
    return folder / "consul-template" / "agent-config.json"


def _listen(folder: Path) -> str:
    content = (folder / "templates" / "nginx-upstreams.conf.ctmpl").read_text()
    [address] = re.findall(r"listen (\S+);", content)
    return str(address)


def _write_nginx(folder: Path, files: Path) -> Path:
    """Write nginx's configuration, which includes the files, and what has nginx reload; return the folder.

    The project's script runs `nginx`, as in nginx's image: here, one of that name says which nginx is meant.
    """
    folder.mkdir()
    (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, files=files))
    options = f"-p {folder} -e {folder}/error.log -c nginx.conf"
    (folder / "nginx").write_text(f'#!/bin/sh\nexec {_program("nginx")} {options} "$@"\n')
    (folder / "nginx").chmod(0o755)
    script = ROOT / "templates" / "reload-nginx.sh"
    (folder / "reload.sh").write_text(f'PATH="{folder}:$PATH"\nset -- "{files}"\n. "{script}"\nwait\n')
    return folder


def burst(started: Gateway, status: str, ids: Sequence[str]) -> float:
    """Report a status for each of some services with a TTL check; return the seconds that it took."""
    agent = started.sandbox.agent_api.address
    pool, began = urllib3.PoolManager(), time.monotonic()
    for service_id in ids:
        answer = pool.request("PUT", f"{agent}/v1/agent/check/{status}/service:{service_id}")
        assert answer.status == 200, answer.data
    return time.monotonic() - began
