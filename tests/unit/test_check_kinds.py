"""What each kind of check says to Consul, and what Consul shows of it again."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from services.checks import Check, GrpcCheck, HttpCheck, TcpCheck, TtlCheck
from services.consul_definition import check_fields, expected_output, from_notes, notes, with_unshown_fields
from services.environment import Environment
from services.model import Service
from services.user_services import USER

SECOND = timedelta(seconds=1)
SPANS = {"interval": "10s", "timeout": "5s", "deregister_critical_service_after": "1m30s"}
URL = "http://isa-billing:8216"


def service(check: Check, port: int | None = 8216) -> Service:
    return USER.service(Environment("staging"), "billing", port, checks=(check,))


# By what is stated: the fields of the definition, and the notes.
KINDS: list[tuple[Check, dict[str, Any], str]] = [
    (
        HttpCheck(),
        {"name": "billing_service HTTP", "http": f"{URL}/health", **SPANS},
        f"GET {URL}/health; deregistered after 1m30s critical",
    ),
    (
        HttpCheck(path="/deep?all=1", method="POST", header={"X-Probe": ("a", "b")}, body="{}", name="deep"),
        {
            "name": "deep",
            "http": f"{URL}/deep?all=1",
            "method": "POST",
            "header": {"X-Probe": ["a", "b"]},
            "body": "{}",
            **SPANS,
        },
        f"POST {URL}/deep?all=1; deregistered after 1m30s critical; further fields ff40b6c748ac5e3a",
    ),
    (
        HttpCheck(use_tls=True, tls_server_name="billing.example", tls_skip_verify=True, port=8443),
        {
            "name": "billing_service HTTP",
            "http": "https://isa-billing:8443/health",
            "tls_server_name": "billing.example",
            "tls_skip_verify": True,
            **SPANS,
        },
        "GET https://isa-billing:8443/health; deregistered after 1m30s critical; further fields 36717fde00a36fe7",
    ),
    (
        TcpCheck(use_tls=True, deregister_critical_service_after=None),
        {
            "name": "billing_service TCP",
            "tcp": "isa-billing:8216",
            "tcp_use_tls": True,
            "interval": "10s",
            "timeout": "5s",
        },
        "TCP isa-billing:8216; never deregistered; further fields ed892ff326156a26",
    ),
    (
        GrpcCheck(service="storage.v1", use_tls=True),
        {"name": "billing_service GRPC", "grpc": "isa-billing:8216/storage.v1", "grpc_use_tls": True, **SPANS},
        "gRPC isa-billing:8216/storage.v1; deregistered after 1m30s critical; further fields d5f5aae64269b9d0",
    ),
    (
        GrpcCheck(success_before_passing=2, failures_before_warning=1, failures_before_critical=3),
        {
            "name": "billing_service GRPC",
            "grpc": "isa-billing:8216",
            "success_before_passing": 2,
            "failures_before_warning": 1,
            "failures_before_critical": 3,
            **SPANS,
        },
        "gRPC isa-billing:8216; deregistered after 1m30s critical; further fields 9be016c98e6fe607",
    ),
    (
        TtlCheck(),
        {"name": "billing_service TTL", "ttl": "30s", "deregister_critical_service_after": "1m30s"},
        "TTL 30s; deregistered after 1m30s critical",
    ),
]
each_kind = pytest.mark.parametrize(("check", "fields", "text"), KINDS)


@each_kind
def test_a_check_says_what_is_stated_and_nothing_that_consul_has_anyway(
    check: Check, fields: dict[str, Any], text: str
) -> None:
    assert check_fields(service(check), check) == fields


@each_kind
def test_the_notes_say_what_consul_does_not_show(check: Check, fields: dict[str, Any], text: str) -> None:
    assert notes(fields) == text


@each_kind
def test_what_the_notes_say_completes_what_consul_shows(check: Check, fields: dict[str, Any], text: str) -> None:
    shown = {key: value for key, value in fields.items() if key in ("name", "interval", "timeout")}
    assert with_unshown_fields({**shown, **from_notes(text)}, fields) == fields


def test_further_fields_that_are_not_the_stated_ones_are_not_completed() -> None:
    stated = check_fields(service(HttpCheck(body="{}")), HttpCheck(body="{}"))
    other = from_notes(notes(stated | {"body": "other"}))
    assert with_unshown_fields(other, stated) == other


def test_no_further_fields_where_some_are_stated_are_not_completed() -> None:
    stated = check_fields(service(HttpCheck(body="{}")), HttpCheck(body="{}"))
    other = from_notes(f"GET {URL}/health; deregistered after 1m30s critical")
    assert "body" not in with_unshown_fields(other, stated)


@pytest.mark.parametrize(
    ("check", "output"),
    [
        (HttpCheck(method="POST"), f"HTTP POST {URL}/health: 200 OK"),
        (TcpCheck(), "TCP connect isa-billing:8216: Success"),
        (TcpCheck(use_tls=True), "TCP+TLS connect isa-billing:8216: Success"),
        (GrpcCheck(service="a.B"), "gRPC check isa-billing:8216/a.B: success"),
        (TtlCheck(), "a report of the service itself, at most 30s old"),
    ],
)
def test_a_run_that_passes_has_the_output_that_consul_writes(check: Check, output: str) -> None:
    assert expected_output(service(check), check) == output


@pytest.mark.parametrize(
    ("check", "seconds"),
    [
        (HttpCheck(interval=10 * SECOND, timeout=5 * SECOND), 15),
        (HttpCheck(interval=10 * SECOND, timeout=5 * SECOND, failures_before_critical=3), 45),
        (HttpCheck(interval=10 * SECOND, timeout=5 * SECOND, success_before_passing=2), 30),
        (TtlCheck(ttl=30 * SECOND), 30),
    ],
)
def test_a_check_reports_a_change_within_the_runs_that_it_needs(check: Check, seconds: int) -> None:
    assert check.reports_within == seconds * SECOND


# What is refused


@pytest.mark.parametrize(
    ("make", "seconds"),
    [
        (lambda: HttpCheck(interval=91 * SECOND), 91),
        (lambda: GrpcCheck(interval=31 * SECOND, success_before_passing=3), 93),
        (lambda: TtlCheck(ttl=300 * SECOND), 300),
        (lambda: TcpCheck(interval=61 * SECOND, deregister_critical_service_after=60 * SECOND), 61),
    ],
)
def test_a_check_that_consul_would_remove_before_it_can_pass_is_refused(
    make: Callable[[], Check], seconds: int
) -> None:
    with pytest.raises(ValidationError, match=f"begins in critical, and this one can take {seconds} s until it passes"):
        make()


@pytest.mark.parametrize(
    "fields",
    [
        {"interval": 90 * SECOND},
        {"interval": 3600 * SECOND, "deregister_critical_service_after": None},
        {"interval": 60 * SECOND, "failures_before_critical": 10},
    ],
)
def test_a_check_that_passes_before_consul_removes_its_service_is_accepted(fields: dict[str, Any]) -> None:
    assert HttpCheck(**fields).interval == fields["interval"]


@pytest.mark.parametrize("name", ["Authorization", "Cookie", "X-Consul-Token", "X-API-Key", "x-auth-user", "X-Secret"])
def test_a_header_that_looks_secret_is_refused_with_what_to_do_instead(name: str) -> None:
    with pytest.raises(ValidationError, match=f"'{name}' looks secret, .* or use a TtlCheck"):
        HttpCheck(header={name: ("5c1b2b5e",)})


@pytest.mark.parametrize(
    "path", ["/health?token=5c1b", "/health?a=1&api_key=5c1b", "/health?Password", "//[?token=5c1b"]
)
def test_a_path_with_a_parameter_that_looks_secret_is_refused(path: str) -> None:
    with pytest.raises(ValidationError, match="looks secret"):
        HttpCheck(path=path)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"header": {"X Probe": ("a",)}}, "'X Probe' is no name of an HTTP header"),
        ({"header": {"X-Probe": ("a\nb",)}}, "a value of 'X-Probe' has characters that cannot be printed"),
        ({"method": "FETCH"}, "Input should be 'GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE' or 'OPTIONS'"),
        ({"tls_skip_verify": True}, "tls_server_name and tls_skip_verify are for use_tls=True"),
        ({"tls_server_name": "a.example"}, "tls_server_name and tls_skip_verify are for use_tls=True"),
        (
            {"failures_before_warning": 3, "failures_before_critical": 2},
            "failures_before_warning must be at most failures_before_critical",
        ),
        ({"failures_before_critical": -1}, "Input should be greater than or equal to 0"),
        ({"port": 0}, "Input should be greater than or equal to 1"),
        ({"ttl": SECOND}, "Extra inputs are not permitted"),
    ],
)
def test_what_consul_would_refuse_or_ignore_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        HttpCheck(**fields)


@pytest.mark.parametrize("check", [HttpCheck(), TcpCheck(), GrpcCheck()], ids=lambda check: check.kind)
def test_a_check_of_a_service_without_a_port_needs_one_of_its_own(check: Check) -> None:
    with pytest.raises(ValidationError, match=f"the {check.kind} check needs a port: the service has none"):
        service(check, port=None)


def test_a_service_without_a_port_may_have_a_ttl_check_or_one_with_a_port() -> None:
    assert check_fields(service(TtlCheck(), port=None), TtlCheck())["ttl"] == "30s"
    own = HttpCheck(port=9000)
    assert check_fields(service(own, port=None), own)["http"] == "http://isa-billing:9000/health"
