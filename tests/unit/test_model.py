import re
from collections.abc import Callable
from datetime import timedelta
from types import MappingProxyType
from typing import Any

import durationpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from services.checks import HttpCheck, TcpCheck
from services.consul_definition import (
    check_fields,
    check_target,
    definition,
    definition_file,
    duration,
    from_notes,
    notes,
    register_request,
)
from services.model import Service

BILLING: dict[str, Any] = {
    "id": "billing_service",
    "name": "billing_service",
    "kind": "user",
    "container": "isa-billing",
    "host": "isa-billing",
    "port": 8216,
    "tags": ("v1", "fastapi"),
    "meta": {"version": "v1"},
    "checks": (
        {
            "kind": "http",
            "id": "billing_service-health",
            "interval": timedelta(seconds=10),
            "timeout": timedelta(seconds=5),
            "deregister_critical_service_after": timedelta(seconds=90),
        },
    ),
}


def service(**changes: object) -> Service:
    return Service.model_validate({**BILLING, **changes})


def check(**changes: object) -> HttpCheck:
    made = service(checks=({**BILLING["checks"][0], **changes},)).checks[0]
    assert isinstance(made, HttpCheck)
    return made


# Ports


@pytest.mark.parametrize("port", [1, 65535])
def test_a_port_from_1_to_65535_is_accepted(port: int) -> None:
    assert service(port=port).port == port


def test_port_0_is_refused() -> None:
    with pytest.raises(ValidationError, match="port\n  Input should be greater than or equal to 1 "):
        service(port=0)


def test_a_port_above_65535_is_refused() -> None:
    with pytest.raises(ValidationError, match="port\n  Input should be less than or equal to 65535 "):
        service(port=65536)


@pytest.mark.parametrize("port", ["8080", 8080.0, True], ids=repr)
def test_a_port_that_is_no_whole_number_is_refused(port: object) -> None:
    with pytest.raises(ValidationError, match="port\n  Input should be a valid integer "):
        service(port=port)


# Durations


@pytest.mark.parametrize("field", ["interval", "timeout"])
@pytest.mark.parametrize("seconds", [0, -1])
def test_a_duration_that_is_not_above_0_is_refused(field: str, seconds: int) -> None:
    with pytest.raises(ValidationError, match=rf"http\.{field}\n  Value error, must be longer than 0 s "):
        check(**{field: timedelta(seconds=seconds)})


def test_deregistering_in_less_than_a_minute_is_refused() -> None:
    # Consul would raise it to a minute without a word.
    with pytest.raises(ValidationError, match="must be at least 1 minute: Consul looks no sooner "):
        check(deregister_critical_service_after=timedelta(seconds=59.999))


def test_deregistering_after_a_minute_is_accepted() -> None:
    minute = timedelta(minutes=1)
    assert check(deregister_critical_service_after=minute).deregister_critical_service_after == minute


def test_an_interval_below_a_second_is_refused() -> None:
    with pytest.raises(ValidationError, match="must be at least 1 second: Consul runs no check more often"):
        check(interval=timedelta(milliseconds=999))


def test_a_timeout_of_a_millisecond_is_accepted() -> None:
    assert check(timeout=timedelta(milliseconds=1)).timeout == timedelta(milliseconds=1)


@given(st.integers(min_value=1, max_value=999_999 * 3_600_000))
def test_a_duration_of_whole_milliseconds_survives_its_text(milliseconds: int) -> None:
    value = timedelta(milliseconds=milliseconds)
    assert durationpy.from_str(duration(value)) == value


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.25, "250ms"), (1.5, "1.5s"), (10, "10s"), (60, "1m0s"), (90, "1m30s"), (3600, "1h0m0s"), (93784, "26h3m4s")],
)
def test_a_duration_is_written_as_consul_returns_it(seconds: float, text: str) -> None:
    assert duration(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize("value", [timedelta(seconds=59, microseconds=123456), timedelta(hours=1_000_000)], ids=str)
def test_a_duration_that_does_not_survive_its_text_is_refused(value: timedelta) -> None:
    with pytest.raises(ValidationError, match="must be whole milliseconds, and at most 365 days"):
        check(interval=value)


# Hosts


@pytest.mark.parametrize("field", ["host", "container"])
@pytest.mark.parametrize(
    "value",
    ["isa-billing", "billing.staging.example", "10.0.0.3", "::1", "2001:db8::3", "x" * 63, "staging_isa-billing_1"],
)
def test_a_host_name_or_an_address_is_accepted(field: str, value: str) -> None:
    assert getattr(service(**{field: value}), field) == value


@pytest.mark.parametrize("value", ["0.0.0.0", "::", "0:0:0:0:0:0:0:0"])  # noqa: S104 - refused
def test_an_address_of_every_interface_is_refused(value: str) -> None:
    with pytest.raises(ValidationError, match=f"host\n  Value error, '{value}' is every interface, not a host: "):
        service(host=value)


@pytest.mark.parametrize(
    "value",
    [
        *("", " ", "a b", "-x", "x-", "a..b", "a.", ".a", "a\n", "ü", "x" * 64, ".".join(["x" * 49] * 6)),
        *("isa-billing:8216", "http://isa-billing", "isa/billing", "[::1]"),
    ],
)
def test_what_is_neither_a_host_name_nor_an_address_is_refused(value: str) -> None:
    wrong = re.escape(f"host\n  Value error, {value!r} is neither a host name nor an IP address ")
    with pytest.raises(ValidationError, match=wrong):
        service(host=value)


@pytest.mark.parametrize("value", ["10.0.0.300", "10.0.0", "1", "1.2.3.4.5", "010.0.0.1"])
def test_what_only_looks_like_an_address_is_no_host_name_either(value: str) -> None:
    with pytest.raises(ValidationError, match=f"'{re.escape(value)}' is neither a host name nor an IP address"):
        service(host=value)


@pytest.mark.parametrize("value", ["fe80::1%a b", "fe80::1%\n", "fe80::1%eth0"])
def test_an_address_with_a_zone_is_refused(value: str) -> None:
    with pytest.raises(ValidationError):
        service(host=value)


def test_an_address_is_host_and_port() -> None:
    assert service().address == "isa-billing:8216"


def test_an_ipv6_address_stands_in_brackets() -> None:
    assert service(host="::1").address == "[::1]:8216"


# Ids and names


@pytest.mark.parametrize("field", ["id", "name"])
@pytest.mark.parametrize("value", ["a", "billing_service", "billing-2", "B", "x" * 63])
def test_letters_digits_dashes_and_underscores_are_an_identifier(field: str, value: str) -> None:
    assert getattr(service(**{field: value}), field) == value


@pytest.mark.parametrize("field", ["id", "name"])
@pytest.mark.parametrize("value", ["", "x" * 64, "a b", "a/b", "a.b", "ü", "a\n", '"'])
def test_any_other_identifier_is_refused(field: str, value: str) -> None:
    wrong = re.escape(f"{field}\n  Value error, {value!r} must be 1 to 63 of the characters A-Z a-z 0-9 - _ ")
    with pytest.raises(ValidationError, match=wrong):
        service(**{field: value})


def test_a_check_id_is_an_identifier_too() -> None:
    with pytest.raises(ValidationError, match=r"http\.id\n  Value error, 'a b' must be 1 to 63 of the characters"):
        check(id="a b")


def test_an_empty_tag_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"tags\.0\n  String should have at least 1 character "):
        service(tags=("",))


def test_a_field_that_is_unknown_is_refused() -> None:
    with pytest.raises(ValidationError, match="hots\n  Extra inputs are not permitted "):
        service(hots="isa-billing")


@pytest.mark.parametrize("field", BILLING)
def test_no_field_of_a_service_may_be_missing(field: str) -> None:
    rest = {name: value for name, value in BILLING.items() if name != field}
    with pytest.raises(ValidationError, match=f"{field}\n  Field required "):
        Service.model_validate(rest)


# Meta


def test_63_meta_keys_are_accepted() -> None:
    assert len(service(meta={f"key{number}": "" for number in range(63)}).meta) == 63


def test_a_64th_meta_key_is_refused_since_it_is_the_owners() -> None:
    with pytest.raises(ValidationError, match="has 64 keys: at most 63 can be, beside the owner that is added "):
        service(meta={f"key{number}": "" for number in range(64)})


@pytest.mark.parametrize("key", ["", "x" * 129, "a b", "a.b", "ü"])
def test_a_meta_key_of_other_characters_or_length_is_refused(key: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(f"key {key!r} must be 1 to 128 of the characters")):
        service(meta={key: ""})


def test_a_meta_key_of_128_characters_is_accepted() -> None:
    assert service(meta={"x" * 128: ""}).meta == {"x" * 128: ""}


def test_a_meta_value_of_512_characters_is_accepted() -> None:
    assert service(meta={"key": "x" * 512}).meta == {"key": "x" * 512}


def test_a_meta_value_of_513_bytes_is_refused() -> None:
    with pytest.raises(ValidationError, match="value of 'key' has 513 bytes, Consul takes at most 512 "):
        service(meta={"key": "x" * 513})


def test_a_meta_value_of_more_than_512_bytes_is_refused() -> None:
    with pytest.raises(ValidationError):
        service(meta={"key": "é" * 257})


def test_the_meta_key_of_the_owner_is_refused() -> None:
    with pytest.raises(ValidationError, match="key 'managed-by' names the owner, and is added by the program"):
        service(meta={"managed-by": "me"})


def test_a_meta_key_that_consul_reserves_is_refused() -> None:
    with pytest.raises(ValidationError):
        service(meta={"consul-version": "1"})


# Checks


def test_a_service_without_a_check_is_refused() -> None:
    with pytest.raises(ValidationError, match="checks\n  Tuple should have at least 1 item after validation, not 0 "):
        service(checks=())


def test_a_check_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"checks\.0\n  Input tag 'script' found using 'kind' does not match"):
        check(kind="script")


def test_an_http_check_requests_health_by_default() -> None:
    made = service()
    assert check_target(made, made.checks[0]) == "http://isa-billing:8216/health"


def test_an_http_check_may_ask_for_another_path() -> None:
    made = service(checks=[{**BILLING["checks"][0], "path": "/v1/ready?deep=1"}])
    assert check_target(made, made.checks[0]) == "http://isa-billing:8216/v1/ready?deep=1"


@pytest.mark.parametrize("path", ["", "health", "/a b", "/health\n", "/ü", "http://isa-billing/health"])
def test_a_path_that_no_url_can_hold_is_refused(path: str) -> None:
    with pytest.raises(ValidationError, match=r"http\.path\n  Value error, must begin with / and have no spaces"):
        check(path=path)


def test_a_tcp_check_has_no_path() -> None:
    with pytest.raises(ValidationError, match=r"tcp\.path\n  Extra inputs are not permitted "):
        check(kind="tcp", path="/health")


# What is built stays as it was checked


@pytest.mark.parametrize("field", BILLING)
def test_no_field_of_a_service_can_be_assigned(field: str) -> None:
    built = service()
    with pytest.raises(ValidationError, match="Instance is frozen"):
        setattr(built, field, BILLING[field])


@pytest.mark.parametrize("field", ["id", "interval", "timeout", "deregister_critical_service_after", "kind", "path"])
def test_no_field_of_a_check_can_be_assigned(field: str) -> None:
    built = check()
    with pytest.raises(ValidationError, match="Instance is frozen"):
        setattr(built, field, getattr(built, field))


@pytest.mark.parametrize(
    "change",
    [
        lambda meta: meta.update(version="v2"),
        lambda meta: meta.__setitem__("version", "v2"),
        lambda meta: meta.__delitem__("version"),
        lambda meta: meta.clear(),
    ],
    ids=["update", "assign", "delete", "clear"],
)
def test_a_built_services_meta_cannot_be_changed(change: Callable[[Any], None]) -> None:
    built = service()
    with pytest.raises((AttributeError, TypeError), match="mappingproxy"):
        change(built.meta)
    assert built.meta == {"version": "v1"}


def test_meta_that_is_changed_afterwards_changes_no_service_built_from_it() -> None:
    meta = {"version": "v1"}
    built = service(meta=meta)
    meta["version"] = "v2"
    assert built.meta == {"version": "v1"}


# What holds for whatever is accepted

identifiers = st.from_regex(r"[A-Za-z0-9_-]{1,63}", fullmatch=True)
labels = st.from_regex(r"[A-Za-z]([A-Za-z0-9-]{0,20}[A-Za-z0-9])?", fullmatch=True)
names = st.lists(labels, min_size=1, max_size=4).map(".".join)
addresses = st.ip_addresses().filter(lambda address: not address.is_unspecified).map(str)
YEAR = timedelta(days=365) // timedelta(milliseconds=1)


def durations(least: int, most: int = YEAR) -> st.SearchStrategy[timedelta]:
    return st.integers(least, most).map(lambda milliseconds: timedelta(milliseconds=milliseconds))


common = {
    "id": identifiers,
    "interval": durations(1000, most=60_000),
    "timeout": durations(1),
    "deregister_critical_service_after": durations(60_000),
}
http_checks = st.builds(HttpCheck, **common, path=st.from_regex(r"/[!-~]{0,40}", fullmatch=True))
tcp_checks = st.builds(TcpCheck, **common)
services = st.builds(
    Service,
    id=identifiers,
    name=identifiers,
    kind=st.sampled_from(["user", "ai", "grpc"]),
    container=names,
    host=names | addresses,
    port=st.integers(1, 65535),
    tags=st.lists(st.text(min_size=1, max_size=20).filter(str.isprintable), max_size=5, unique=True).map(tuple),
    meta=st.dictionaries(identifiers, st.text(max_size=40), max_size=5),
    checks=st.lists(http_checks | tcp_checks, min_size=1, max_size=3, unique_by=lambda each: each.id).map(tuple),
)


def as_in_a_file(body: dict[str, Any]) -> dict[str, Any]:
    """Spell the keys of an API body as a definition file spells them; names that the caller chose stay."""
    plain = {"ID": "id", "CheckID": "id", "HTTP": "http", "TCP": "tcp"}
    spelled = {plain.get(key, re.sub("(?<!^)([A-Z])", r"_\1", key).lower()): value for key, value in body.items()}
    if "checks" in spelled:
        spelled["checks"] = [as_in_a_file(each) for each in spelled["checks"]]
    return spelled


@given(services)
def test_the_api_and_the_definition_file_get_the_same(made: Service) -> None:
    assert as_in_a_file(register_request(definition(made))) == definition_file([made])["services"][0]


@given(services)
def test_every_check_is_rendered_with_its_own_id(made: Service) -> None:
    assert [each["CheckID"] for each in register_request(definition(made))["Checks"]] == [
        each.id for each in made.checks
    ]


@given(services)
def test_notes_give_back_what_they_were_made_of(made: Service) -> None:
    for each in made.checks:
        fields = check_fields(made, each)
        kept = {key: fields[key] for key in (each.kind, "deregister_critical_service_after")}
        assert from_notes(notes(fields)) == kept


@given(st.text() | services.map(lambda made: notes(check_fields(made, made.checks[0])) + " at noon"))
def test_notes_of_another_party_are_not_parsed(text: str) -> None:
    assert from_notes(text) == {}


@given(services)
def test_a_service_survives_its_dump(made: Service) -> None:
    assert Service.model_validate(made.model_dump()) == made


# What is not


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=4)


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.decimals()
    | st.complex_numbers()
    | st.text()
    | st.binary()
    | st.timedeltas()
    | st.datetimes()
    | st.ip_addresses()
    | st.sampled_from([object(), Service, MappingProxyType({1: 2}), frozenset({"a"}), 10**400, float("inf"), "\ud800"])
)
junk = st.recursive(scalars, nested, max_leaves=8)
places = st.sampled_from(
    [("service", field) for field in BILLING] + [("check", field) for field in BILLING["checks"][0]]
)


def accepted_or_refused(value: object) -> bool:
    """Anything but these two ends the test."""
    try:
        Service.model_validate(value)
    except ValidationError:
        return False
    return True


@given(junk)
def test_junk_for_a_service_is_refused(value: object) -> None:
    assert not accepted_or_refused(value)


@settings(max_examples=300)
@given(places, junk)
def test_junk_in_any_field_is_accepted_or_refused_and_never_a_crash(place: tuple[str, str], value: object) -> None:
    whole, field = place
    first = BILLING["checks"][0]
    accepted_or_refused(
        {**BILLING, **({field: value} if whole == "service" else {"checks": [{**first, field: value}]})}
    )


@given(st.text() | st.binary() | junk)
def test_whatever_host_is_accepted_makes_one_word_of_an_address(value: object) -> None:
    try:
        made = service(host=value)
    except ValidationError:
        return
    assert re.fullmatch(r"\S+:8216", made.address)
