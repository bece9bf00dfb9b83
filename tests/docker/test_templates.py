"""A stack with templates and the services' values, and a gateway of nginx that mounts the files: open and secured."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import pytest
import urllib3

from consul_cluster.client import Consul
from operations.paths import ROOT
from operations.stack import Stack
from tests.docker.conftest import (
    AGENT,
    HTTPS,
    NETWORK,
    SERVER,
    changes,
    deployed,
    docker,
    failed_up,
    ours,
    passing,
    project,
)
from tests.forty_services import FORTY
from tests.waiting import within

HTTP = [line.name for line in FORTY if line.kind != "grpc"]
NGINX = "nginx:1.22.1"
FILES = ("nginx-upstreams.conf", "prometheus-targets.json")
VALUES = {"limits/eur": {"day": 1000}}


@dataclass(frozen=True)
class Gateway:
    """A stack, and nginx in front of its services.

    Attributes:
        stack: with templates.
        templates: their folder, which a test may change.
        url: of nginx.
    """

    stack: Stack
    templates: Path
    url: str

    def answering(self) -> dict[str, int]:
        """Return the HTTP status of each HTTP service."""
        return {name: self.get(name) for name in HTTP}

    def get(self, name: str) -> int:
        try:
            return urllib3.request("GET", f"{self.url}/{name}/health", retries=False, timeout=5).status
        except urllib3.exceptions.HTTPError:
            return 0

    def written(self) -> list[str]:
        return [docker("exec", "consul-template", "cat", f"/home/consul-template/{name}") for name in FILES]


@contextmanager
def _nginx() -> Iterator[str]:
    """Run nginx as docs/templates.md says, but for its port."""
    script = f"{ROOT}/templates/reload-nginx.sh:/docker-entrypoint.d/40-reload-nginx.sh:ro"
    mounted = ("--volume", "consul-template-files:/etc/nginx/conf.d:ro", "--volume", script)
    options = ("--network", NETWORK, "--publish", "127.0.0.1::8080", "--restart", "unless-stopped")
    docker("run", "--detach", "--name", "gateway", *options, *mounted, NGINX)
    try:
        yield f"http://{docker('port', 'gateway', '8080/tcp')}"
    finally:
        docker("rm", "--force", "--volumes", "gateway")


@pytest.fixture(scope="module", params=[{}, {"security": "on", **HTTPS}], ids=["open", "secured"])
def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("templates")
    templates = folder / "templates"
    templates.mkdir()
    for path in (ROOT / "templates").glob("*.ctmpl"):
        (templates / path.name).write_text(path.read_text())
    with patch("services.configuration_values.FOR_ALL_SERVICES", VALUES):
        stack = project(folder, "docker-local", templates=str(templates), kvConfiguration=True, **request.param)
        with deployed(stack), _nginx() as url:
            yield Gateway(stack, templates, url)
    assert ours() == ""


def test_through_a_gateway_all_31_http_services_answer(gateway: Gateway) -> None:
    within(15, lambda: set(gateway.answering().values()) == {200})
    assert len(gateway.answering()) == 31


def test_a_container_that_stops_is_out_of_the_gateway_and_no_other_service_fails(gateway: Gateway) -> None:
    answered = []
    docker("stop", "--time", "1", "isa-billing")

    def others() -> None:
        answered.append({name: code for name, code in gateway.answering().items() if name != "billing_service"})

    def has(code: int) -> bool:
        others()
        return gateway.get("billing_service") == code

    within(15, lambda: has(503))
    docker("start", "isa-billing")
    within(15, lambda: has(200))
    assert {code for each in answered for code in each.values()} == {200}


def test_a_second_up_changes_nothing(gateway: Gateway) -> None:
    assert changes(gateway.stack).keys() == {"same"}


def test_each_service_reads_its_values_in_the_kv_store_with_the_token_of_its_group(gateway: Gateway) -> None:
    stack, outputs = gateway.stack, gateway.stack.engine.outputs()
    tokens, address = outputs.get("serviceTokens", {}), stack.consul.address
    assert tokens.keys() == ({"user", "ai", "grpc"} if stack.settings.stage == "on" else set())
    for service in stack.roster.services:
        consul = Consul(address, tokens.get(service.kind), outputs.get("ca"))
        entries = {key: consul.kv_entry(f"{service.name}/{key}") for key in VALUES}
        assert {key: entry and json.loads(entry.text) for key, entry in entries.items()} == VALUES


def test_while_consul_is_away_the_files_stay_and_the_gateway_answers(gateway: Gateway) -> None:
    before = gateway.written()
    started = docker("inspect", "--format", "{{.State.StartedAt}} {{.RestartCount}}", "consul-template")
    docker("kill", AGENT, SERVER)
    time.sleep(50)
    assert gateway.written() == before
    assert set(gateway.answering().values()) == {200}
    assert docker("inspect", "--format", "{{.State.StartedAt}} {{.RestartCount}}", "consul-template") == started
    docker("start", SERVER, AGENT)
    passing(gateway.stack, 60)
    within(15, lambda: set(gateway.answering().values()) == {200})


def test_a_template_that_changes_replaces_the_container_and_its_file(gateway: Gateway) -> None:
    template = gateway.templates / "prometheus-targets.json.ctmpl"
    before = template.read_text()
    template.write_text(before.replace('"service_id"', '"instance_id"'))
    found = changes(gateway.stack)
    assert found.pop("same")
    assert found == {"replace": 1}
    targets = json.loads(gateway.written()[1])
    assert {target["labels"].keys() == {"service", "instance_id"} for target in targets} == {True}
    template.write_text(before)
    changes(gateway.stack)


def _refused(gateway: Gateway, content: str) -> set[str]:
    """Run an `up` with one more template, which has to fail and to leave the containers; returns its lines on that."""
    bad = gateway.templates / "bad.ctmpl"
    bad.write_text(content)
    before = docker("ps", "--all", "--quiet", "--no-trunc")
    try:
        output = failed_up(gateway.stack, refresh=False).splitlines()
    finally:
        bad.unlink()
    assert docker("ps", "--all", "--quiet", "--no-trunc") == before
    return {line.strip().replace(str(bad), bad.name) for line in output if bad.name in line}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{{ range services }}", "parse: template: :1: unexpected EOF"),
        ("\n{{ foo }}", 'parse: template: :2: function "foo" not defined'),
    ],
)
def test_a_template_that_does_not_parse_changes_nothing(gateway: Gateway, content: str, said: str) -> None:
    assert _refused(gateway, content) == {f"bad.ctmpl: {said}"}


def test_a_template_that_names_a_service_which_the_roster_lacks_changes_nothing(gateway: Gateway) -> None:
    said = "'biling_service' is no name of a service of this stack: billing_service is"
    assert f"error: bad.ctmpl: {said}" in _refused(gateway, '{{ range service "biling_service" }}{{ end }}')


def test_it_has_no_rights_of_root(gateway: Gateway) -> None:
    assert gateway.written()
    status = docker("exec", "consul-template", "cat", "/proc/1/status")
    found = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert (found["Uid"].split(), found["CapEff"], found["CapBnd"], found["NoNewPrivs"]) == (
        ["100"] * 4,
        "0" * 16,
        "0" * 16,
        "1",
    )
