"""Whatever a stack's file, its config or its roster holds is accepted and usable, or refused by one clear error."""

import json
import re
import tempfile
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import durationpy
import yaml
from hypothesis import event, given
from hypothesis import strategies as st
from pydantic import ValidationError

from consul_cluster.ownership import with_owner
from services.ai_services import ai_service
from services.consul_definition import definition, definition_files, register_request
from services.environment import Environment
from services.grpc_services import grpc_service
from services.model import Service
from services.roster import Roster
from services.user_services import USER
from settings import Settings, SettingsError, load, of_file
from tests.forty_services import forty_roster
from tests.unit.authorities import AUTHORITY_FILE

PROJECT = "consul-staging"
FILE = "Pulumi.test.yaml"
TOKEN = "5c1b2b5e-consul-acl-token"  # noqa: S105 - no real one
MARK = "pulumi/consul-staging/test/a-service"

Made = TypeVar("Made")
Refusal = TypeVar("Refusal", bound=Exception)

# https://github.com/distribution/reference: what Docker takes for an image
_DOMAIN = r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?"
_PATH = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
IMAGE = re.compile(
    rf"({_DOMAIN}(\.{_DOMAIN})*(:[0-9]+)?/)?{_PATH}(/{_PATH})*:[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}}(@sha256:[0-9a-f]{{64}})?"
)

# What stands in a stack's file

LEAST = {"agentAddress": "http://127.0.0.1:8501", "serverAddress": "http://127.0.0.1:8500"}
BOOLEAN = ["true", "false"]
PROVIDED = ["created", "existing"]
RIGHT = {
    "registration": ["agent", "catalog", "files"],
    "agentAddress": ["http://127.0.0.1:8501", "https://consul.example:8501", "http://[::1]:8501/", ""],
    "agentToken": ["another-token", ""],
    "agentCaFile": [str(AUTHORITY_FILE), ""],
    "nodeToken": ["a-third-token", ""],
    "gossipKey": ["b25lLWdvc3NpcC1rZXktb2YtMzItYnl0ZXMtaW4tYWw=", "c2hvcnQ=", ""],
    "clusterCaFile": [str(AUTHORITY_FILE), ""],
    "agentCertificateFile": [str(AUTHORITY_FILE), ""],
    "agentCertificateKey": ["no key", ""],
    "serverAddress": ["http://127.0.0.1:8500", "https://consul.example:8500", "http://[2001:db8::1]:80"],
    "environment": ["staging", "eu-1"],
    "serviceHost": ["127.0.0.3", "::1", "staging_isa-billing_1", "docker.example", ""],
    "adopt": BOOLEAN,
    "docker": BOOLEAN,
    "sandbox": BOOLEAN,
    "network": PROVIDED,
    "server": PROVIDED,
    "standIns": BOOLEAN,
    "consulImage": ["hashicorp/consul:1.17.2", "registry.example:5000/mirror/consul:1.17.2"],
    "esmImage": ["consul-esm:0.9.0", f"my_mirror/consul-esm:0.9.0@sha256:{'0a' * 32}"],
    "externalNode": ["staging-external", "external_1"],
    "security": ["off", "accepted", "sent", "on", ""],
    "tokenGenerations": ["[1]", '["a", "b"]', "[]", "[1, 1]"],
    "managementTokens": ["[1]", '["a", "b"]', "[]", "[1, 1]"],
    "authorities": ["[1]", '["a", "b"]', "[]", "[1, 1]"],
    "leaveOut": ["[]", '["billing_service"]'],
    "locations": ["{}", '{"billing_service": "10.0.0.7:9216", "mcp_service": ":80", "auth_service": "[::1]"}'],
    "publishOn": ["127.0.0.1", "::1", "0.0.0.0"],  # noqa: S104 - a person may publish everywhere
}
STRANGE = ["\0", "\n", "\t", "\r", " ", ":", "/", "[", "]", "%", "@", "#", "-", ".", "_", "a", "0", "'", '"', "\\", "٣"]
STRANGE += ["\uff15", "é", "\u212a", "\u2100", "\u202e", "\x1b[31m", "\ufeff", "\ud800", "\U0001f600", "\x85", "\u2028"]
STRANGE += ["x" * 60, "x" * 5000, "9" * 5000, "a." * 200]


@st.composite
def near_misses(draw: st.DrawFn, text: str) -> str:
    """A text with something else at one place."""
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, min(start + 2, len(text))))
    return text[:start] + draw(st.sampled_from(STRANGE) | st.text(max_size=2)) + text[end:]


right = st.sampled_from(sorted({value for values in RIGHT.values() for value in values}))
texts = right | right.flatmap(near_misses) | st.text(max_size=20) | st.sampled_from(STRANGE)
keys = st.sampled_from([str(field.alias) for field in Settings.model_fields.values()])
names = keys | keys | keys.flatmap(near_misses) | st.text(max_size=8)
right_items = st.sampled_from(list(RIGHT)).flatmap(lambda key: st.tuples(st.just(key), st.sampled_from(RIGHT[key])))
near_items = right_items.flatmap(lambda item: st.tuples(st.just(item[0]), near_misses(item[1])))
items = near_items | st.tuples(names, texts)


def configs(wrong: st.SearchStrategy[tuple[Any, Any]]) -> st.SearchStrategy[dict[Any, Any]]:
    """A right config with a few keys that may be wrong."""
    least = st.sampled_from([list(LEAST.items())] * 3 + [[]])
    changes = st.tuples(least, st.lists(right_items, max_size=4), st.lists(wrong, max_size=2))
    return changes.map(lambda lists: dict(chain(*lists)))


numbers = st.integers() | st.floats() | st.just(10**400)
scalars = st.none() | st.booleans() | numbers | st.dates() | st.datetimes() | st.binary(max_size=8) | texts
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.just("secure") | names, inner, max_size=3),
    max_leaves=6,
)
prefixes = st.sampled_from([f"{PROJECT}:", f"{PROJECT}:", "", "docker:", f"{PROJECT}:config:"])
full_names = st.builds("{}{}".format, prefixes, names)

# As a person might write a value, whatever YAML makes of it
WRITTEN = [
    *("", "~", "null", "yes", "0x1F", "0x" + "f" * 5000, "9" * 5000, "010", "1_000", "1:30", "1" + ":00" * 200 + ".5"),
    *(".inf", ".nan", "1e999", "2001-01-01", "2001-99-99", "2001-01-01T00:00:00+99:99", "2001-01-01t25:61:61Z"),
    *("!!int abc", "!!int ''", "!!float x", "!!bool x", "!!timestamp x", "!!binary é", "!!null x", "!!set {a}"),
    *("!!omap x", "!!pairs [x]", "!!str []", "!!python/object:os.system x", "!mine x", "!!merge x"),
    *("&a [*a]", "&a {b: *a}", "*a", "*", "&", "!", "|", ">-", "%x", "@x", "`x`", "{", "[", "}", "]", "'", '"'),
    *('"\\ud800"', '"\\0"', '"\\x1b[31m"', '"\\q"', "a: b", "- a", "? a", "a #b", "\t", "[" * 3000, "{a: " * 3000),
    *("{secure: v1:abc}", "{secure: [1]}", "{secure: v1:abc, more: x}", "&b [x, x]", "[*b, *b]", "{<<: *b}"),
]
# A token in every form in which a person might mistype it; it stands last, so that no other value takes it in.
TOKENS = ["{}", "'{}'", "'{}", '"{}', "{}: x", "*{}", "&{} x", "!{} x", "!!int {}", "!!bool {}", "!!timestamp {}"]
TOKENS += ["[{}]", "{{value: {}}}", "{{secure: {}}}", "%{}", "@{}", "`{}", "{} #", "|\n    {}\n   x", "- {}", "? {}"]


@st.composite
def written(draw: st.DrawFn) -> str:
    """A stack's file, line by line."""
    good = [f"  {PROJECT}:{key}: {value}" for key, value in LEAST.items()]
    bad = st.builds("  {}: {}".format, full_names | st.sampled_from(WRITTEN), st.sampled_from(WRITTEN) | texts)
    token = f"  {PROJECT}:agentToken: {draw(st.sampled_from(TOKENS)).format(TOKEN)}"
    head = draw(st.sampled_from(["config:", "config:", "config:", "config: &c", "configs:", "---"]))
    return "\n".join([head, *good, *draw(st.lists(bad, max_size=2)), token])


@st.composite
def dumped(draw: st.DrawFn) -> str:
    """A stack's file as a program writes it."""
    config = draw(configs(near_items | st.tuples(names, anything)))
    named = {f"{draw(prefixes)}{key}": value for key, value in config.items()}
    other = draw(st.dictionaries(scalars, anything, max_size=1))
    shapes: list[dict[Any, Any]] = [{"config": named}, {"config": named}, {"config": {**named, **other}}, other]
    return yaml.safe_dump(draw(st.sampled_from(shapes)), allow_unicode=draw(st.booleans()))


committed = st.sampled_from([path.read_text() for path in Path(__file__).parents[2].glob("Pulumi.*.yaml")])
codecs = st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
files = st.binary(max_size=40) | st.builds(
    lambda text, codec: text.encode(codec, "surrogatepass"),
    written() | dumped() | committed.flatmap(near_misses),
    codecs,
)


def assert_clear(said: str) -> None:
    """A refusal is for a person: each line names the file and a key, and can be printed."""
    assert said
    for line in said.split("\n"):
        file, _, rest = line.partition(": ")
        key, _, what = rest.partition(": ")
        assert (file, bool(key), bool(what or key == "is not YAML")) == (FILE, True, True), line
        assert line.isprintable(), line
    assert "Traceback" not in said
    assert "pydantic" not in said


def assert_url(url: str) -> None:
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    assert url.lower() == f"{parts.scheme}://{host}:{parts.port}"
    assert re.fullmatch(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9._-]+):[0-9]{1,5}", url.lower())


def assert_usable(found: Settings) -> None:
    """What is accepted can be deployed, and is the same when it is read again."""
    event("accepted")
    for url in filter(None, (found.agent_address, found.server_address)):
        assert_url(url)
    assert IMAGE.fullmatch(found.consul_image)
    assert IMAGE.fullmatch(found.esm_image)
    published = {at for host in found.docker_hosts for at in (host.server_publish, host.agent_publish) if at}
    assert all(re.fullmatch(r"[0-9a-f.:]+", at.ip) and 0 < at.port <= 65535 for at in published)
    assert_rendered(forty_roster(found.services))
    texts = found.model_dump(by_alias=True, exclude_none=True, exclude={"locations", "leave_out"})
    again = {key: str(value) for key, value in texts.items()} | {
        "leaveOut": json.dumps(sorted(found.leave_out)),
        "tokenGenerations": json.dumps(found.token_generations),
        "authorities": json.dumps(found.authorities),
        "managementTokens": json.dumps(found.management_tokens),
        "locations": json.dumps({key: place(*each) for key, each in found.locations.items()}),
        "agentAddress": found.agent_address or "",
    }
    assert load(again, FILE) == found


def place(host: str | None, port: int | None) -> str:
    name = f"[{host}]" if ":" in (host or "") else host
    return (name or "") + (f":{port}" if port else "")


def assert_rendered(found: Roster) -> None:
    """What is accepted is what Consul takes: over the agent's API and in definition files."""
    event(f"a roster of {len(found)}")
    bodies = [register_request(definition(with_owner(service, MARK))) for service in found.services]
    for body in bodies:
        assert_body(body)
    listed = [service for file in definition_files(found).values() for service in file["services"]]
    assert sorted(service["id"] for service in listed) == sorted(body["ID"] for body in bodies)
    assert json.loads(json.dumps([bodies, listed], ensure_ascii=False).encode()) == [bodies, listed]


def assert_body(body: Mapping[str, Any]) -> None:
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,63}", body[key]) for key in ("ID", "Name"))
    assert re.fullmatch(r"[A-Za-z0-9._:-]{1,253}", body["Address"])
    assert 0 <= body["Port"] <= 65535
    assert all(body["Tags"])
    assert len(body["Meta"]) <= 64
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,128}", key) for key in body["Meta"])
    assert all(len(value.encode()) <= 512 for value in body["Meta"].values())
    for check in body["Checks"]:
        assert len(check.keys() & {"HTTP", "TCP", "GRPC", "TTL"}) == 1
        runs = ["TTL"] if "TTL" in check else ["Interval", "Timeout"]
        assert min(durationpy.from_str(check[key]) for key in runs) > timedelta(0)
        assert durationpy.from_str(check.get("DeregisterCriticalServiceAfter", "1m")) >= timedelta(minutes=1)


def outcome(make: Callable[[], Made], refusal: type[Refusal]) -> Made | Refusal:
    """Anything but what is made and its refusal ends the test."""
    try:
        return make()
    except refusal as error:
        return error


def assert_usable_or_clear(found: Settings | SettingsError) -> None:
    if isinstance(found, Settings):
        assert_usable(found)
    else:
        assert_clear(str(found))
        assert TOKEN not in str(found)


@given(configs(items))
def test_a_config_of_the_engines_is_accepted_or_refused_by_a_line_a_key(config: dict[str, str]) -> None:
    assert_usable_or_clear(outcome(lambda: load({**config, "agentToken": TOKEN}, FILE), SettingsError))


@given(files)
def test_a_stacks_file_is_accepted_or_refused_by_a_line_a_key(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FILE
        path.write_bytes(content)
        assert_usable_or_clear(outcome(lambda: of_file(path, PROJECT), SettingsError))


# What stands in the files of the groups

spans = st.timedeltas() | st.sampled_from([timedelta(seconds=10), timedelta(milliseconds=1), timedelta(days=365)])
ports = st.integers(0, 65536)
hosts = st.sampled_from(RIGHT["serviceHost"])
environments = st.sampled_from(RIGHT["environment"])
plain = st.sampled_from(["billing", "model", "a_b", "x" * 45])
own_names = plain | plain.flatmap(near_misses)
lines = st.tuples(st.sampled_from(["user", "ai", "grpc"]), own_names, ports, st.just(timedelta(seconds=10)) | spans)


def assert_rendered_or_clear(found: Roster | ValidationError) -> None:
    """Each mistake is reported with its field, or with the file."""
    if isinstance(found, Roster):
        assert_rendered(found)
    else:
        assert str(found)
        for each in found.errors(include_url=False):
            assert each["msg"]
            assert each["loc"] or "in services/" in each["msg"] or "a check begins in critical" in each["msg"]


def built(environment: str, host: str | None, stated: list[tuple[str, str, int, timedelta]]) -> Roster:
    """Build a roster as `load_roster` does."""
    where = Environment(environment, host)
    makers: dict[str, Callable[..., Service]] = {
        "user": partial(USER.service, where),
        "ai": partial(ai_service, where),
        "grpc": partial(grpc_service, where, role=environment),
    }
    return Roster(services=tuple(makers[kind](name, port, interval=interval) for kind, name, port, interval in stated))


@given(
    environments | environments.flatmap(near_misses),
    st.none() | hosts | hosts.flatmap(near_misses),
    st.lists(lines, max_size=3, unique_by=lambda line: line[1]),
)
def test_a_roster_is_accepted_or_refused_with_the_field(
    environment: str, host: str | None, stated: list[tuple[str, str, int, timedelta]]
) -> None:
    assert_rendered_or_clear(outcome(lambda: built(environment, host, stated), ValidationError))


def changed(draw: st.DrawFn, right: dict[str, Any], kinds: Mapping[str, st.SearchStrategy[Any]]) -> dict[str, Any]:
    """Return what is right with something else in one field, if in any."""
    fields = draw(st.sets(st.sampled_from(sorted(right)), max_size=1))
    return {**right, **{field: draw(kinds.get(field, own_names) | anything) for field in fields}}


CHECK_FIELDS = {
    "kind": st.sampled_from(["http", "tcp", "grpc", "ttl", "udp"]),
    "path": near_misses("/health?deep=1"),
    "method": st.sampled_from(["POST", "FETCH"]),
    "header": st.dictionaries(texts, st.lists(texts, max_size=2), max_size=2),
    "body": texts,
    "use_tls": st.booleans(),
    "failures_before_critical": st.integers(-1, 3),
    "deregister_critical_service_after": st.none() | spans,
    **dict.fromkeys(("interval", "timeout"), spans),
}
SERVICE_FIELDS = {
    "kind": st.sampled_from(["user", "ai", "grpc", "cron"]),
    "host": hosts.flatmap(near_misses),
    "port": st.none() | ports,
    "tags": st.lists(texts, max_size=3),
    "meta": st.dictionaries(own_names, texts, max_size=3),
}


@st.composite
def services(draw: st.DrawFn) -> dict[str, Any]:
    """A right service with something else in a field or two."""
    made = USER.service(Environment("staging"), f"s{draw(st.integers(1, 9))}", draw(st.integers(1, 65535)))
    right = made.model_dump()
    checks = [changed(draw, check, CHECK_FIELDS) for check in right["checks"]]
    return changed(draw, {**right, "checks": checks}, SERVICE_FIELDS)


@given(st.lists(services(), max_size=3) | st.lists(anything, max_size=2))
def test_services_of_any_fields_are_accepted_or_refused_with_the_field(stated: list[Any]) -> None:
    made = outcome(lambda: Roster.model_validate({"services": stated}), ValidationError)
    assert_rendered_or_clear(made)
