"""A gateway: nginx, with the files that consul-template writes of the project's templates."""

import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import urllib3

import toolchain
from consul_cluster.agent_configuration import consul_template_config
from consul_cluster.cluster_names import STAGING_NAMES
from consul_cluster.template_files import read_templates
from operations.paths import ROOT
from operations.sandbox.processes import BackgroundProcess
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


@dataclass(frozen=True)
class Gateway:
    """What runs.

    Attributes:
        sandbox: Consul, and a stand-in of each service.
        files: the folder that consul-template writes into.
        url: of nginx.
        nginx: its process.
        consul_template: its process.
    """

    sandbox: Sandbox
    files: Path
    url: str
    nginx: BackgroundProcess
    consul_template: BackgroundProcess

    def get(self, service: str) -> int:
        """Return the HTTP status of a service's /health, through nginx."""
        return urllib3.request("GET", f"{self.url}/{service}/health", retries=False, timeout=5).status

    def answering(self, services: Sequence[str]) -> dict[str, int]:
        """Return the HTTP status of each of some services."""
        return {service: self.get(service) for service in services}

    @property
    def reloads(self) -> int:
        """How often nginx was told to read its configuration again."""
        return len(re.findall(r"\(SIGHUP\) received from", (self.nginx.folder / "error.log").read_text()))

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
        lines = (self.nginx.folder / "access.log").read_text().splitlines()
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
    written = _write_templates(folder, agent, new_addresses().services, files)
    consul_template = BackgroundProcess(
        "consul-template", (program("consul-template") or "", f"-config={written}"), folder / "consul-template"
    )
    nginx = _nginx(folder / "nginx", files)
    reloading = BackgroundProcess("reload", ("sh", folder / "nginx" / "reload.sh"), folder / "nginx")
    url = f"http://{_listen(folder)}"
    try:
        sandbox.start()
        for service in sandbox.roster.services:
            register(sandbox, service)
        require_passing(sandbox.agent_api, sandbox.roster, 45)
        for process in (consul_template, reloading, nginx):
            process.start()
        started = Gateway(sandbox, files, url, nginx, consul_template)
        within(20, lambda: _answers(started))
        yield started
    finally:
        for process in (reloading, nginx, consul_template):
            process.stop()
        sandbox.stop()


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


def _nginx(folder: Path, files: Path) -> BackgroundProcess:
    """Return the process of nginx, whose configuration includes the files, beside the script that has it reload.

    The script runs `nginx`, as in nginx's image: here, one of that name says which nginx is meant. What the script
    leaves running ends with it, as in a container.
    """
    folder.mkdir()
    (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, files=files))
    command = (program("nginx") or "", "-p", str(folder), "-e", str(folder / "error.log"), "-c", "nginx.conf")
    (folder / "nginx").write_text(f'#!/bin/sh\nexec {" ".join(command)} "$@"\n')
    (folder / "nginx").chmod(0o755)
    script = ROOT / "templates" / "reload-nginx.sh"
    (folder / "reload.sh").write_text(
        f'trap "trap - TERM; kill 0" TERM\nPATH="{folder}:$PATH"\nset -- "{files}"\n. "{script}"\nwait\n'
    )
    return BackgroundProcess("nginx", command, folder)


def burst(started: Gateway, status: str, ids: Sequence[str]) -> float:
    """Report a status for each of some services with a TTL check; return the seconds that it took."""
    agent = started.sandbox.agent_api.address
    pool, began = urllib3.PoolManager(), time.monotonic()
    for service_id in ids:
        answer = pool.request("PUT", f"{agent}/v1/agent/check/{status}/service:{service_id}")
        assert answer.status == 200, answer.data
    return time.monotonic() - began
