"""What others have stated becomes lines of the roster, and what a line cannot say is said above it."""

import json
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from consul_cluster.ownership import with_owner
from operations.import_services.definition_file_reader import DefinitionFileError, read_files
from operations.import_services.import_services import NothingToImportError, import_services
from operations.import_services.roster_line import IMPORTED, RosterLine, roster_line
from services import configuration_values
from services.ai_services import ai_service
from services.checks import GrpcCheck, HttpCheck, TcpCheck, TtlCheck
from services.consul_definition import definition as definition_of
from services.consul_definition import definition_file, register_request
from services.environment import Environment
from services.group import Options
from services.grpc_services import grpc_service
from services.model import Service, TaggedAddress, Weights
from services.user_services import USER
from tests.fake_consul import AGENT, FakeConsul, running
from tests.forty_services import FORTY, forty_roster

STAGING = Environment("staging")
CHECKS = (HttpCheck, TcpCheck, GrpcCheck, TtlCheck)


def imported(document: object, folder: Path) -> list[RosterLine]:
    file = folder / "services.json"
    file.write_text(json.dumps(document))
    return list(map(roster_line, read_files([file])))


def stated_by(line: RosterLine) -> Service:
    """Return what a line states, as a group's file has it."""
    names = {
        "user": partial(USER.service, STAGING),
        "ai": partial(ai_service, STAGING),
        "grpc": partial(grpc_service, STAGING),
        "imported": partial(IMPORTED.service, STAGING),
        **{
            each.__name__: each
            for each in (HttpCheck, TcpCheck, GrpcCheck, TtlCheck, TaggedAddress, Weights, timedelta)
        },
    }
    made: Service = eval(line.text.removesuffix(","), names)  # noqa: S307 - what this project has just written
    return made


def test_the_forty_become_the_lines_that_they_were(tmp_path: Path) -> None:
    lines = imported(definition_file(forty_roster().services), tmp_path)
    roles = {each.name: f', "{each.role}"' if each.kind == "grpc" else "" for each in FORTY}
    assert [line.text for line in lines] == [
        f'{each.kind}("{each.short_name}", {each.port}{roles[each.name]}),' for each in FORTY
    ]
    assert {line.unexpressed for line in lines} == {()}


OPTIONS: list[Options] = [
    {"path": "/ready"},
    {"interval": timedelta(seconds=30)},
    {"id": "billing_service-2", "container": "isa-billing-2"},
    {"host": "10.0.0.7"},
    {"tags": ("preferred",), "meta": {"base_path": "/api/v1/billing"}},
    {"weights": Weights(passing=10, warning=0), "enable_tag_override": True},
    {"tagged_addresses": {"wan": TaggedAddress(address="billing.example", port=443)}},
    {"checks": (HttpCheck(method="POST", header={"X-Probe": ("a", "b")}, body='{"a": "\'"}', port=9000),)},
    {"checks": (HttpCheck(use_tls=True, tls_server_name="a.example", failures_before_critical=3),)},
    {"checks": (TcpCheck(use_tls=True, tls_skip_verify=True, deregister_critical_service_after=None),)},
    {"checks": (GrpcCheck(service="a.B", use_tls=True), TtlCheck(ttl=timedelta(minutes=1)))},
]


@pytest.mark.parametrize("options", OPTIONS, ids=[" ".join(each) for each in OPTIONS])
def test_a_service_with_fields_of_its_own_is_stated_again(options: Options, tmp_path: Path) -> None:
    stated = USER.service(STAGING, "billing", 8216, **options)
    for document in (definition_file([stated]), register_request(definition_of(stated))):
        [line] = imported(document, tmp_path)
        assert (stated_by(line), line.unexpressed) == (stated, ())


# Files of other people, in shape


def test_a_file_with_the_fields_of_the_documentation(tmp_path: Path) -> None:
    check = {"http": "http://10.0.4.17:8080/health", "interval": "10s", "timeout": "2s"}
    stated = {
        "name": "payments",
        "id": "payments-1",
        "address": "10.0.4.17",
        "port": 8080,
        "tags": ["v2"],
        "check": check,
    }
    [line] = imported({"service": stated}, tmp_path)
    found = stated_by(line)
    assert (found.id, found.name, found.host, found.port, found.tags) == (
        "payments-1",
        "payments",
        "10.0.4.17",
        8080,
        ("staging", "v2"),
    )
    assert dict(found.checks[0]) == dict(
        HttpCheck(id="payments-1-health", timeout=timedelta(seconds=2), deregister_critical_service_after=None)
    )
    assert line.unexpressed == ("it gets the tags of its group: staging",)


@pytest.mark.parametrize("spelling", ["tls_skip_verify", "TLSSkipVerify", "tlsSkipVerify"])
def test_a_field_is_read_in_each_spelling_that_consul_takes(spelling: str, tmp_path: Path) -> None:
    check = {"HTTP": "https://web:443/health", "Interval": "10s", spelling: True}
    [line] = imported({"Name": "web", "Address": "web", "Port": 443, "Check": check}, tmp_path)
    [found] = stated_by(line).checks
    assert isinstance(found, HttpCheck)
    assert (found.use_tls, found.tls_skip_verify) == (True, True)


def test_a_check_beside_its_service_is_read_too(tmp_path: Path) -> None:
    check = {"id": "alive", "service_id": "web", "tcp": "localhost:80", "interval": "5s"}
    [line] = imported(
        {"service": {"name": "web", "port": 80}, "checks": [check, {**check, "service_id": "other"}]}, tmp_path
    )
    assert [each.id for each in stated_by(line).checks] == ["alive"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"connect": {"sidecar_service": {}}}, "connect is left out"),
        ({"kind": "connect-proxy"}, "kind is left out"),
        ({"token": "5c1b"}, "token is left out"),
        ({"check": {"args": ["/bin/check"], "interval": "5s"}}, "a check: args is left out"),
        ({"check": {"script": "true", "interval": "5s"}}, "it has no check that the roster has words for"),
        ({}, "it has no check that the roster has words for: its group's is put there"),
        ({"address": None}, "it has no address: the container isa-web is taken for it"),
        ({"check": {"http": "http://other:80/", "interval": "5s"}}, "it asks other, and will ask the service's own"),
        ({"check": {"id": "service:web", "tcp": "web:80", "interval": "5s"}}, "service:web: the check gets another id"),
        ({"check": {"ttl": "30s", "deregister_critical_service_after": "10s"}}, "it deregisters after 1 minute, as"),
        ({"check": {"tcp": "web:80", "interval": "0.5s"}}, "interval: must be at least 1 second"),
        ({"check": {"tcp": "web:80", "interval": "soon"}}, "the check is left out"),
        (
            {"check": {"http": "http://web:80/", "interval": "5s", "header": {"Authorization": ["a"]}}},
            "header: 'Authorization' looks secret",
        ),
    ],
)
def test_what_a_line_cannot_say_is_said_above_it(fields: dict[str, Any], said: str, tmp_path: Path) -> None:
    [line] = imported({"service": {"name": "web", "address": "web", "port": 80, **fields}}, tmp_path)
    assert any(said in each for each in line.unexpressed), line.unexpressed
    assert "5c1b" not in f"{line}"
    assert stated_by(line).name == "web"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"id": "web:1"}, "id: 'web:1' must be 1 to 63 of the characters"),
        ({"name": "my.web"}, "name: 'my.web' must be 1 to 63 of the characters"),
        ({"port": 70000}, "port: Input should be less than or equal to 65535"),
        ({"meta": {"a b": "c"}}, "meta: key 'a b' must be"),
    ],
)
def test_a_service_that_the_roster_cannot_have_is_a_comment_with_the_reason(
    fields: dict[str, Any], why: str, tmp_path: Path
) -> None:
    check = {"tcp": "web:80", "interval": "5s"}
    [line] = imported({"service": {"name": "web", "address": "web", "port": 80, "check": check, **fields}}, tmp_path)
    assert line.text.startswith("# imported(")
    assert any(each.startswith(f"it cannot be stated: {why}") for each in line.unexpressed), line.unexpressed


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("service { }", "is not JSON: .* HCL has to be written as JSON first"),
        ("[]", "must be an object with service or services, or one service"),
        ("{}", "has neither service nor services, nor the name of one"),
        ('{"services": [1]}', "has neither service nor services, nor the name of one"),
        ('{"services": 5}', "services: 5: must be a list"),
        ('{"service": {"name": "web", "address": 12}}', "address: 12: must be text"),
        ('{"service": {"name": "web", "port": "80"}}', "port: '80': must be a whole number"),
        ('{"service": {"name": "web", "meta": []}}', r"meta: \[\]: must be an object"),
        ('{"service": {"name": "web", "weights": []}}', r"weights: \[\]: must be an object"),
        ('{"service": {"name": "web", "checks": 5}}', "checks: 5: must be a list"),
        ('{"service": {"name": "web", "check": {"ttl": true}}}', "ttl: True: must be text or a whole number"),
        ('{"service": {"name": "web", "tagged_addresses": {"wan": 5}}}', "tagged_addresses: 5: must be an object"),
        ("[" * 100_000, "is not JSON: maximum recursion depth"),
    ],
)
def test_a_file_that_consul_does_not_read_is_one_message(content: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "services.json"
    file.write_text(content)
    with pytest.raises(DefinitionFileError, match=f"services.json: {said}"):
        list(read_files([file]))


def test_a_span_in_nanoseconds_is_read_as_consuls_api_takes_it(tmp_path: Path) -> None:
    check = {"Name": "ready", "TCP": "isa-web:80", "Interval": 20_000_000_000, "Timeout": "3s"}
    [line] = imported({"Name": "web_service", "Address": "isa-web", "Port": 80, "Check": check}, tmp_path)
    assert "interval=timedelta(seconds=20)" in line.text


def test_a_folder_stands_for_its_json_files(tmp_path: Path) -> None:
    with pytest.raises(DefinitionFileError, match=r"has no file that ends in \.json"):
        list(read_files([tmp_path]))
    imported({"service": {"name": "web", "port": 80}}, tmp_path)
    assert [found.fields["name"] for found in read_files([tmp_path])] == ["web"]


def test_a_file_that_does_not_exist_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(DefinitionFileError, match="No such file or directory"):
        list(read_files([tmp_path / "absent.json"]))


# A running Consul


@pytest.fixture
def consul() -> Iterator[FakeConsul]:
    with running(FakeConsul()) as fake:
        fake.add_node(AGENT, Address="10.0.0.2")
        yield fake


def printed(*arguments: str) -> str:
    app = typer.Typer()
    app.command()(import_services)
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_the_services_of_a_running_consul_are_printed_by_file(consul: FakeConsul) -> None:
    billing = USER.service(STAGING, "billing", 8216)
    body = register_request(definition_of(with_owner(billing, "pulumi/other/stack/registration-billing_service")))
    fields = {key: body[key] for key in ("Address", "Port", "Tags", "Meta")}
    seen = {"CheckID": "billing_service-health", "Type": "http", "Interval": "10s", "Timeout": "5s"}
    output = "HTTP GET http://isa-billing:8216/health: 200 OK Output: well"
    consul.add(AGENT, billing.id, billing.name, {**seen, "Name": "billing_service HTTP", "Output": output}, **fields)
    consul.add(AGENT, "web", "web", {"CheckID": "web-health", "Type": "http", "Interval": "7s"}, Address="web", Port=80)
    lines = printed("--consul", consul.address).splitlines()
    assert lines[:2] == ["# services/user_services.py", 'user("billing", 8216),']
    assert lines[2].startswith("# services/imported_services.py, a group of your own (docs/services.md): Group(")
    assert "# web-health: what the check asks, which Consul does not show until it has passed once is left out" in lines
    assert lines[-1].startswith('imported("web", 80, container="web", checks=(HttpCheck(name="web-health", interval=')
    assert all(request.method == "GET" for request in consul.requests)


def test_a_check_whose_id_and_name_consul_gave_is_stated(consul: FakeConsul) -> None:
    given = {"Name": "Service 'web' check", "Type": "http", "Interval": "7s", "Timeout": "5s"}
    output = "HTTP GET http://web:80/ready: 200 OK Output: well"
    consul.add(AGENT, "web", "web", {**given, "CheckID": "service:web", "Output": output}, Address="web", Port=80)
    line = 'imported("web", 80, container="web", interval=timedelta(seconds=7), path="/ready"),'
    assert printed("--consul", consul.address).splitlines()[-1] == line


def test_several_checks_without_an_id_get_one_each(tmp_path: Path) -> None:
    checks = [{"http": f"http://web:80/{path}", "interval": "10s"} for path in "abc"]
    [line] = imported({"service": {"name": "web", "address": "web", "port": 80, "checks": checks}}, tmp_path)
    assert [each["id"] for each in definition_file([stated_by(line)])["services"][0]["checks"]] == [
        "web-health",
        "web-health-2",
        "web-health-3",
    ]


def test_a_service_without_a_port_is_stated_without_one(consul: FakeConsul) -> None:
    consul.add(AGENT, "web", "web", {"CheckID": "web-ttl", "Name": "web TTL", "Type": "ttl"}, Address="web", Port=0)
    assert printed("--consul", consul.address).splitlines()[-1].startswith('imported("web", None, container="web", ')


def test_a_wrong_value_for_all_services_is_nothing_to_what_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configuration_values, "FOR_ALL_SERVICES", {"a b": 1})
    [line] = imported({"service": {"name": "billing_service", "port": 8216}}, tmp_path)
    assert line.text.startswith('user("billing", 8216')


def test_a_consul_without_services_is_said_to_have_none(consul: FakeConsul) -> None:
    assert printed("--consul", consul.address) == "# there is no service to import, but for Consul's own\n"


@pytest.mark.parametrize("address", ["127.0.0.1:8500", "localhost"])
def test_an_address_without_a_scheme_is_refused(address: str) -> None:
    app = typer.Typer()
    app.command()(import_services)
    result = CliRunner().invoke(app, ["--consul", address])
    assert (result.exit_code, f"{address!r} is no URL" in result.stderr) == (2, True)


def test_nothing_to_import_from_is_one_message() -> None:
    with pytest.raises(NothingToImportError, match="name definition files, or give --consul"):
        printed()
