"""What a stack's registration and stand-ins cannot do is refused when the roster is loaded."""

from typing import Protocol, Unpack

import pytest

import stack_roster
from services import roster
from services.checks import Check, GrpcCheck, HttpCheck, TcpCheck, TtlCheck
from services.environment import Environment
from services.group import Options
from services.model import TaggedAddress
from services.roster import Roster
from services.user_services import USER
from settings import Settings
from stack_roster import UnfitServicesError

BASE = {"agentAddress": "http://127.0.0.2:8500", "serverAddress": "http://127.0.0.1:8500"}
CATALOG = Settings.model_validate({**BASE, "registration": "catalog"})
SANDBOX = Settings.model_validate({**BASE, "docker": False, "sandbox": True, "serviceHost": "127.0.0.3"})
STAND_INS = Settings.model_validate({**BASE, "agentAddress": "http://127.0.0.1:8501", "standIns": True})
PLAIN = Settings.model_validate(BASE)


class Load(Protocol):
    """Loads a stack's roster of one service."""

    def __call__(self, settings: Settings, **options: Unpack[Options]) -> Roster: ...


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    def loaded(settings: Settings, **options: Unpack[Options]) -> Roster:
        one = Roster(services=(USER.service(Environment("staging"), "billing", 8216, **options),))
        monkeypatch.setattr(roster, "load_roster", lambda _: one)
        return stack_roster.load(settings)

    return loaded


EVERY_KIND: tuple[Check, ...] = (
    HttpCheck(path="/ready", method="POST", body="{}", use_tls=True),
    TcpCheck(use_tls=True),
    GrpcCheck(success_before_passing=3),
    TtlCheck(),
)


def test_the_agent_can_do_all_of_it(load: Load) -> None:
    assert len(load(PLAIN, checks=EVERY_KIND)) == 1


@pytest.mark.parametrize(
    ("check", "why"),
    [
        (GrpcCheck(), "grpc: consul-esm runs HTTP and TCP checks, and no GRPC check"),
        (TtlCheck(), "ttl: consul-esm runs HTTP and TCP checks, and no TTL check"),
        (HttpCheck(body="{}"), "health: the Consul provider registers no body"),
        (
            HttpCheck(use_tls=True, tls_server_name="a"),
            "health: the Consul provider registers no tls_server_name and no TLS for TCP",
        ),
        (TcpCheck(use_tls=True), "tcp: the Consul provider registers no tls_server_name and no TLS for TCP"),
        (
            HttpCheck(failures_before_critical=3),
            "health: the Consul provider registers no success_before_passing and no failures_before_...",
        ),
    ],
)
def test_what_consul_esm_or_the_provider_cannot_do_is_refused_with_the_reason(
    load: Load,
    check: Check,
    why: str,
) -> None:
    with pytest.raises(UnfitServicesError) as refused:
        load(CATALOG, checks=(check,))
    assert str(refused.value) == (
        f"services/user_services.py: billing_service: billing_service-{why}: register it with registration agent or "
        "files"
    )


def test_the_provider_has_no_tagged_addresses(load: Load) -> None:
    with pytest.raises(UnfitServicesError, match="the Consul provider registers no tagged_addresses"):
        load(CATALOG, tagged_addresses={"wan": TaggedAddress(address="a.example", port=443)})


def test_the_provider_leaves_others_no_tags(load: Load) -> None:
    with pytest.raises(UnfitServicesError, match="enable_tag_override: the Consul provider takes the tags of other"):
        load(CATALOG, enable_tag_override=True)


@pytest.mark.parametrize("check", [HttpCheck(method="POST", header={"X-Probe": ("a",)}), TcpCheck()])
def test_what_the_provider_can_do_is_accepted(load: Load, check: Check) -> None:
    assert len(load(CATALOG, checks=(check,))) == 1


@pytest.mark.parametrize(
    "check", [HttpCheck(path="/ready", method="POST"), TcpCheck(port=9000), GrpcCheck(), TtlCheck()]
)
def test_a_process_stands_in_for_each_kind(load: Load, check: Check) -> None:
    assert len(load(SANDBOX, checks=(check,))) == 1


@pytest.mark.parametrize(
    ("settings", "check", "why"),
    [
        (SANDBOX, HttpCheck(use_tls=True), "no stand-in has a certificate"),
        (STAND_INS, HttpCheck(path="/ready"), "a stand-in container answers /health and no other path"),
        (
            STAND_INS,
            GrpcCheck(),
            "a stand-in container answers GET /health and TCP on the service's port, and nothing else",
        ),
        (
            STAND_INS,
            HttpCheck(port=9000),
            "a stand-in container answers GET /health and TCP on the service's port, and nothing else",
        ),
    ],
)
def test_what_no_stand_in_can_do_is_refused_with_what_to_do(
    load: Load,
    settings: Settings,
    check: Check,
    why: str,
) -> None:
    with pytest.raises(UnfitServicesError) as refused:
        load(settings, checks=(check,))
    assert f": {why}: have this stack leave it out, with leaveOut: [billing_service]" in str(refused.value)


def test_two_ports_of_one_container_have_no_stand_in_container(monkeypatch: pytest.MonkeyPatch) -> None:
    where = Environment("staging")
    two = (USER.service(where, name, port, container="isa") for name, port in (("a", 1001), ("b", 1002)))
    monkeypatch.setattr(roster, "load_roster", lambda _: Roster(services=tuple(two)))
    with pytest.raises(UnfitServicesError, match="b_service: the stand-in of isa listens on port 1001 alone"):
        stack_roster.load(STAND_INS)
