"""What `security` promises, on a real Docker engine: a cluster that runs is secured without losing a service."""

import json
import subprocess
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import urllib3

from consul_cluster.client import Consul, ConsulError, ForbiddenError, Right
from operations import down, up
from operations.pulumi_engine import EngineError
from operations.stack import Stack
from operations.verify.report import report
from services import roster
from tests.docker.catalog_watch import CatalogWatch, watch_catalog
from tests.docker.conftest import (
    AGENT,
    CONSUL,
    HTTPS,
    NETWORK,
    SERVER,
    all_40,
    changes,
    docker,
    instances,
    ours,
    passing,
    project,
    run_pulumi,
    without_billing,
)
from tests.polling import polling
from tests.waiting import within

OPEN = {"security": "off"}
STAGES = {
    "accepted": {"security": "accepted"},
    "sent": {"security": "sent", **HTTPS},
    "on": {"security": "on", **HTTPS},
}
PORTS = {AGENT: 8501, SERVER: 8500}
LOGGED = 4  # "anything >3 is very verbose", says pulumi; from 5 on, plugins log what they are handed as it is
A_CHECKS_INTERVAL = 5  # and more: each has run, some times

pytestmark = [
    pytest.mark.timeout(1200),  # several runs of `up`, and a check's interval after each
    pytest.mark.filterwarnings("ignore:Unverified HTTPS request"),  # of who watches, and of nobody else
]


@dataclass(frozen=True)
class Secured:
    """A stack whose cluster was secured while it ran.

    Attributes:
        stack: with security on.
        seen: what a client saw during each stage's `up`.
    """

    stack: Stack
    seen: dict[str, CatalogWatch]

    @property
    def outputs(self) -> dict[str, Any]:
        return dict(self.stack.engine.outputs())

    def api(self, at: str, token: str | None) -> Consul:
        """The agent's API or the server's, with a token."""
        return Consul(f"https://127.0.0.1:{PORTS[at]}", token, self.outputs["ca"])

    def token(self, role: str) -> str:
        return str(self.outputs["tokens"][role])


@pytest.fixture(scope="module", name="secured")
def _secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("secured")
    stack = project(folder, "docker-local", **OPEN)
    try:
        up.deploy(stack)
        passing(stack)
        seen = {}
        for stage, config in STAGES.items():
            before, stack = stack, project(folder, "docker-local", **config)
            ways = (before,) if stage == "accepted" else (stack, before)
            with watch_catalog(stack.roster, *(way.server for way in ways)) as seen[stage]:
                changes(stack)
                time.sleep(A_CHECKS_INTERVAL)
        yield Secured(stack, seen)
    finally:
        down.destroy(stack)


every_stage = pytest.mark.parametrize("stage", STAGES)
every_api = pytest.mark.parametrize("at", [AGENT, SERVER])


@every_stage
def test_a_running_cluster_is_secured_with_no_service_twice_and_none_without_a_passing_instance(
    secured: Secured, stage: str
) -> None:
    assert secured.seen[stage].twice == set()
    assert secured.seen[stage].missing < 1


def test_verify_finds_all_well_with_a_token_that_only_reads(secured: Secured) -> None:
    assert secured.stack.role == "verify"
    assert [verdict for verdict in report(secured.stack).verdicts if not verdict.well] == []


def test_a_second_up_changes_nothing_and_a_refresh_finds_no_drift(secured: Secured) -> None:
    assert changes(secured.stack).keys() == {"same"}
    assert changes(secured.stack, refresh=True).keys() == {"same"}


def test_the_catalog_has_each_of_the_40_once_and_every_check_passes(secured: Secured) -> None:
    assert instances(secured.stack) == all_40(secured.stack)
    passing(secured.stack, 1)


def test_a_server_whose_container_is_gone_is_put_back_before_the_run_asks_it(secured: Secured) -> None:
    docker("rm", "--force", SERVER)
    up.deploy(secured.stack)
    assert instances(secured.stack) == all_40(secured.stack)
    passing(secured.stack)


# Seconds in which a client learns that its token is void
UNTIL_VOID = 5


def test_a_groups_token_is_replaced_without_a_service_losing_consul(secured: Secured) -> None:
    old = secured.outputs["serviceTokens"]["user"]
    folder = Path(secured.stack.engine.project)
    found: list[int] = []

    def discover(token: str) -> Callable[[], None]:
        client = secured.api(AGENT, token)
        return lambda: found.append(len(client.discover("model_service")))

    with polling(discover(old), 0.05):
        changes(project(folder, "docker-local", **STAGES["on"], tokenGenerations=["1", "2"]))
    new = secured.outputs["serviceTokens"]["user"]
    assert new != old
    with polling(discover(new), 0.05):
        changes(project(folder, "docker-local", **STAGES["on"], tokenGenerations=["2"]))
    assert set(found) == {1}
    within(UNTIL_VOID, lambda: is_void(secured.api(SERVER, old)))
    changes(project(folder, "docker-local", **STAGES["on"]))


def is_void(consul: Consul) -> bool:
    try:
        return not consul.own_accessor()
    except ForbiddenError:
        return True


def test_a_groups_token_reads_services_and_its_own_keys_and_changes_nothing(secured: Secured) -> None:
    consul = secured.api(AGENT, secured.outputs["serviceTokens"]["user"])
    allowed = [
        Right("service", "", "read"),
        Right("node", "", "read"),
        Right("key", "billing_service/max_retries", "read"),
    ]
    denied = [
        Right("service", "billing_service", "write"),
        Right("key", "billing_service/max_retries", "write"),
        Right("key", "model_service/max_retries", "read"),
        Right("node", AGENT, "write"),
        Right("agent", AGENT, "read"),
    ]
    assert consul.missing_rights([*allowed, *denied]) == denied


def test_a_service_is_dropped_and_added_again_within_the_rights_that_its_name_has(
    secured: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = without_billing(secured.stack)
    with monkeypatch.context() as patch:
        patch.setattr(roster, "load_roster", lambda *_: rest)
        summary = changes(secured.stack)
        # Its stand-in goes too, and the rights of two tokens: of the registrations, and of its group.
        assert (summary.pop("same") > 0, summary) == (True, {"update": 2, "delete": 2})
        assert ("billing_service", AGENT) not in instances(secured.stack)
        assert changes(secured.stack, refresh=True).keys() == {"same"}
    summary = changes(secured.stack)
    assert (summary.pop("same") > 0, summary) == (True, {"update": 2, "create": 2})
    passing(secured.stack)


# Who is not let in


@every_api
def test_plain_http_is_refused(secured: Secured, at: str) -> None:
    answer = urllib3.request("GET", f"http://127.0.0.1:{PORTS[at]}/v1/catalog/services", retries=False)
    assert (answer.status, answer.data) == (400, b"Client sent an HTTP request to an HTTPS server.\n")
    inside = ("docker", "run", "--rm", "--network", NETWORK, "--entrypoint", "consul", CONSUL)
    ask = (*inside, "catalog", "services", f"-http-addr=http://{at}:8500")
    refused = subprocess.run(ask, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "connection refused" in refused.stderr


@every_api
def test_a_client_without_the_authority_is_not_talked_to(secured: Secured, at: str) -> None:
    with pytest.raises(ConsulError, match="certificate verify failed"):
        Consul(f"https://127.0.0.1:{PORTS[at]}", secured.token("verify")).members()


@every_api
def test_a_client_without_a_token_reads_nothing(secured: Secured, at: str) -> None:
    api = secured.api(at, None)
    assert (api.catalog_nodes(), api.members(), api.catalog_checks(), api.all_services()) == ({}, [], [], {})
    with pytest.raises(ForbiddenError):
        api.metrics()


@every_api
def test_a_client_without_a_token_registers_nothing(secured: Secured, at: str) -> None:
    with pytest.raises(ForbiddenError):
        secured.api(at, None).register({"ID": "intruder", "Name": "intruder", "Port": 1})
    with pytest.raises(ForbiddenError):
        secured.api(at, None).register_in_catalog({"Node": "intruder", "Address": "10.0.0.9"})


@every_api
def test_a_client_without_a_token_deregisters_nothing(secured: Secured, at: str) -> None:
    with pytest.raises(ForbiddenError):
        secured.api(at, None).deregister_from_catalog(AGENT, "billing_service")
    with pytest.raises(ForbiddenError):
        secured.api(AGENT, None).deregister("billing_service")
    assert instances(secured.stack) == all_40(secured.stack)


@pytest.mark.parametrize("role", ["verify", "reload", "agent"])
def test_what_reads_reloads_or_is_the_agents_own_registers_nothing(secured: Secured, role: str) -> None:
    with pytest.raises(ForbiddenError):
        secured.api(AGENT, secured.token(role)).register({"ID": "billing_service", "Name": "billing_service"})


def test_what_registers_the_40_touches_no_41st_name(secured: Secured) -> None:
    registration = secured.api(AGENT, secured.token("registration"))
    with pytest.raises(ForbiddenError):
        registration.register({"ID": "intruder", "Name": "intruder", "Port": 1})
    everything = secured.api(AGENT, secured.token("management"))
    everything.register({"ID": "another", "Name": "another", "Port": 1})
    try:
        with pytest.raises(ForbiddenError):
            registration.deregister("another")
        with pytest.raises(ForbiddenError):
            registration.deregister_from_catalog(AGENT, "another")
    finally:
        everything.deregister("another")


def test_what_registers_the_40_writes_no_policy_and_no_key(secured: Secured) -> None:
    registration = secured.api(SERVER, secured.token("registration"))
    with pytest.raises(ForbiddenError):
        registration.replace_gossip_key("bm90IGEga2V5IG9mIHRoaXMgY2x1c3RlciBhdCBhbGw=")
    with pytest.raises(ForbiddenError):
        registration.delete_token("00000000-0000-0000-0000-000000000002")


@pytest.mark.parametrize("key", ["bm90IGEga2V5IG9mIHRoaXMgY2x1c3RlciBhdCBhbGw=", None], ids=["another key", "no key"])
def test_an_agent_with_another_gossip_key_or_none_cannot_join(secured: Secured, key: str | None) -> None:
    encrypt = [f"-encrypt={key}"] if key else []
    agent = ("agent", "-node=intruder", f"-retry-join={SERVER}", "-retry-max=2", "-retry-interval=1s", *encrypt)
    run = ("docker", "run", "--rm", "--network", NETWORK, "--name", "isa-intruder", CONSUL, *agent)
    refused = subprocess.run(run, capture_output=True, text=True, check=False, timeout=60)
    assert refused.returncode != 0
    assert "max join LAN retry exhausted" in refused.stdout
    everything = secured.api(SERVER, secured.token("management"))
    assert {member["Name"] for member in everything.members()} == {AGENT, SERVER}


def test_a_preview_asks_no_consul(secured: Secured) -> None:
    changed = project(secured.stack.engine.project, "docker-local", **STAGES["on"], environment="another")
    file = changed.engine.project / "Pulumi.yaml"
    text = file.read_text()
    docker("stop", AGENT, SERVER)
    try:
        # As with --refresh=false, which Pulumi's Automation API does not know.
        file.write_text(text.replace("options:\n  refresh: always\n", ""))
        summary = {str(what): count for what, count in changed.engine.preview().change_summary.items()}
        assert (summary.pop("same") > 0, summary) == (True, {"update": 40})
    finally:
        file.write_text(text)
        docker("start", SERVER, AGENT)
    within(45, lambda: instances(secured.stack) == all_40(secured.stack))
    passing(secured.stack)


# What is secret


def exported(stack: Stack, *options: str) -> dict[str, Any]:
    """Return the stack's state, as pulumi exports it."""
    return dict(json.loads(run_pulumi(stack, "stack", "export", *options)))


def secrets_of(stack: Stack) -> dict[str, str]:
    """Return everything that is to be told to nobody: of a private key, a line."""
    found = {}
    for resource in exported(stack, "--show-secrets")["deployment"]["resources"]:
        name, outputs = resource["urn"].rpartition("::")[2], resource.get("outputs", {})
        for key in {"result", "privateKeyPem", "secret"} & outputs.keys():
            secret = isinstance(outputs[key], dict) and outputs[key].get("plaintext")
            if secret and isinstance(value := json.loads(secret), str):
                found[f"{name} {key}"] = value.splitlines()[1] if key == "privateKeyPem" else value
    gossip = b64encode(found["keys-gossip result"].encode()).decode()
    return {**found, "gossip": gossip, "management": stack.engine.outputs()["tokens"]["management"]}


def told(text: str, secrets: Mapping[str, str]) -> set[str]:
    """Return the names of the secrets that are in a text, as they are or as in JSON."""
    return {name for name, value in secrets.items() if value in text or json.dumps(value)[1:-1] in text}


@pytest.fixture(scope="module", name="secrets")
def _secrets(secured: Secured) -> dict[str, str]:
    found = secrets_of(secured.stack)
    # Gossip key and management token in two spellings each, three private keys and copies, five tokens, one a group.
    assert len(found) == 15 + 3
    return found


def test_the_state_has_no_secret_in_plain_text(secured: Secured, secrets: Mapping[str, str]) -> None:
    files = [path for path in (secured.stack.engine.folder / "state").rglob("*") if path.is_file()]
    assert len(files) > 10
    assert {path.name: told(path.read_text(errors="replace"), secrets) for path in files} == {
        path.name: set() for path in files
    }


def test_neither_the_engines_logs_nor_a_process_list_has_a_secret(secured: Secured, secrets: Mapping[str, str]) -> None:
    said: list[str] = []
    lists: list[str] = []

    def look() -> None:
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                lists.append(" ".join(process.cmdline()))

    changed = project(secured.stack.engine.project, "docker-local", **STAGES["on"], environment="another")
    with polling(look, 0.05, at_least=20):
        for stack in (changed, secured.stack):
            engine = replace(stack.engine, print_line=said.append)
            engine.up(refresh=True, log_verbosity=LOGGED, log_to_std_err=True, log_flow=True)
    assert (len(said) > 10_000, len(lists) > 1_000) == (True, True)
    assert told("\n".join(said), secrets) == set()
    assert told("\n".join(lists), secrets) == set()


def test_no_secret_is_in_what_docker_shows_of_a_container_nor_in_its_log(
    secured: Secured, secrets: Mapping[str, str]
) -> None:
    names = docker("ps", "--all", "--format", "{{.Names}}").split()
    assert told(docker("inspect", *names), secrets) == set()
    logs = [subprocess.run(("docker", "logs", name), capture_output=True, text=True, check=True) for name in names]
    assert told("\n".join(each.stdout + each.stderr for each in logs), secrets) == set()


# Keys and tokens are replaced while the cluster runs


def replaced(secured: Secured, *names: str) -> CatalogWatch:
    """Have these resources replaced; returns what a client saw meanwhile."""
    urns = [urn for urn in secured.stack.engine.urns() if urn.rpartition("::")[2] in names]
    assert len(urns) == len(names)
    after = project(secured.stack.engine.project, "docker-local", **STAGES["on"])
    with watch_catalog(after.roster, after.server, at_least=100) as seen:
        after.engine.up(replace=urns)
        time.sleep(A_CHECKS_INTERVAL)
    return seen


@pytest.mark.parametrize(
    "names",
    [
        ("keys-gossip",),
        ("acl-registration-token",),
        ("acl-agent-token",),
        ("keys-management",),
        ("keys-staging-consul-key", "keys-consul-agent-shared-key"),
        ("keys-authority-key",),
    ],
    ids=lambda names: names[0],
)
def test_keys_and_tokens_are_replaced_with_no_service_twice_and_none_missing(
    secured: Secured, names: tuple[str, ...]
) -> None:
    old = secrets_of(secured.stack)
    seen = replaced(secured, *names)
    new = secrets_of(secured.stack)
    assert (seen.twice, seen.missing < 1) == (set(), True), seen
    assert {name.partition(" ")[0] for name in old if old[name] != new[name]} >= {
        name.replace("-token", "-secret") for name in names
    }
    for name in names:
        if name.endswith("-token") or name == "keys-management":
            value = old["management" if name == "keys-management" else f"{name.replace('-token', '-secret')} secret"]
            with pytest.raises(ForbiddenError):
                secured.api(SERVER, value).own_accessor()
    state = json.dumps(exported(secured.stack, "--show-secrets"))
    assert (told(state, old), told(state, new)) == ({name for name in old if old[name] == new[name]}, set(new))
    fresh = project(secured.stack.engine.project, "docker-local", **STAGES["on"])
    assert [verdict for verdict in report(fresh).verdicts if not verdict.well] == []
    assert changes(fresh, refresh=True).keys() == {"same"}


def test_a_service_is_dropped_while_the_agent_and_all_that_removes_it_are_replaced(
    secured: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = without_billing(secured.stack)
    with monkeypatch.context() as patch:
        patch.setattr(roster, "load_roster", lambda *_: rest)
        replaced(secured, "keys-management", "acl-removal-token", "keys-consul-agent-shared-key")
        assert "billing_service" not in [name for name, _ in instances(secured.stack)]
    stack = project(secured.stack.engine.project, "docker-local", **STAGES["on"])
    changes(stack)
    passing(stack)
    assert instances(stack) == all_40(stack)


def test_the_same_image_under_another_name_leaves_every_service_with_the_agent(secured: Secured) -> None:
    # What is stated of the container changes, and no container.
    another = f"{CONSUL}-again"
    docker("tag", CONSUL, another)
    try:
        stack = project(secured.stack.engine.project, "docker-local", **STAGES["on"], consulImage=another)
        with watch_catalog(stack.roster, stack.server) as seen:
            changes(stack)
        assert (seen.twice, seen.missing < 1) == (set(), True), seen
        assert instances(stack) == all_40(stack)
        passing(stack)
        assert changes(stack, refresh=True).keys() == {"same"}
        changes(project(secured.stack.engine.project, "docker-local", **STAGES["on"]))
    finally:
        docker("rmi", another)


# The other registrations, and the end


@pytest.mark.parametrize("registration", ["catalog", "files", "agent"])
def test_each_registration_works_in_a_secured_cluster(secured: Secured, registration: str) -> None:
    stack = project(secured.stack.engine.project, "docker-local", **STAGES["on"], registration=registration)
    with watch_catalog(stack.roster, stack.server) as seen:
        changes(stack)
        time.sleep(A_CHECKS_INTERVAL)
    assert (seen.twice, seen.missing < 1) == (set(), True), seen.missing
    assert instances(stack) == all_40(stack)
    passing(stack, 45)
    # Each check has run: consul-esm's first runs are up to a minute later.
    within(60, lambda: report(stack).well)
    assert changes(stack, refresh=True).keys() == {"same"}


@pytest.mark.parametrize(
    ("stage", "why"),
    [
        ("off", "a cluster that was secured cannot go back to off: "),
        ("accepted", "agent and server of a cluster would lose each other from on to accepted: set it to sent first"),
    ],
)
def test_a_stage_that_is_too_far_is_refused_in_a_preview_and_before_anything_is_changed(
    secured: Secured, stage: str, why: str
) -> None:
    said: list[str] = []
    stack = project(secured.stack.engine.project, "docker-local", **{**OPEN, "security": stage})
    engine = replace(stack.engine, print_line=said.append)
    for run in (engine.preview, engine.up):
        said.clear()
        with pytest.raises(EngineError):
            run()
        assert f"Pulumi.docker-local.yaml: security: {why}" in "\n".join(said)
    after = project(secured.stack.engine.project, "docker-local", **STAGES["on"])
    assert changes(after, refresh=True).keys() == {"same"}


def test_the_way_back_is_the_same_steps_to_where_nothing_is_asked_for(secured: Secured) -> None:
    folder = secured.stack.engine.project
    before = project(folder, "docker-local", **STAGES["on"])
    for stage in ("sent", "accepted"):
        stack = project(folder, "docker-local", **STAGES[stage])
        with watch_catalog(stack.roster, stack.server, before.server, at_least=100) as seen:
            changes(stack)
            time.sleep(A_CHECKS_INTERVAL)
        assert (seen.twice, seen.missing < 1) == (set(), True), (stage, seen)
        assert instances(stack) == all_40(stack)
        passing(stack)
        assert changes(stack, refresh=True).keys() == {"same"}
        before = stack
    assert len(Consul("http://127.0.0.1:8500").catalog_checks()) > 40


def test_destroy_leaves_nothing_of_ours(secured: Secured) -> None:
    project(secured.stack.engine.project, "docker-local", **STAGES["accepted"]).engine.destroy()
    assert ours() == ""
