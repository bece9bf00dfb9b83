from collections.abc import Iterator, Sequence

import pulumi
import pytest

from components.cluster_keys import ClusterKeys, ClusterKeysArgs
from components.consul_connection import Connection
from components.management_tokens import register_management_tokens
from consul_cluster.fingerprint import fingerprint
from tests.fake_consul import FakeConsul, running
from tests.unit.pulumi_mocks import Deployed, deploy, secret

OLD, NEW, BEFORE = "15e0b259-4393-5b97", "7c1d0f36-0b5e-4d0a", "f1b6d1c2-the-one-before"
CREATE, REPLACE, REFUSE = "create-management-tokens", "replace-management-tokens", "refuse-keys-management-tokens"
NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def servers() -> Iterator[FakeConsul]:
    with running(FakeConsul()) as consul:
        yield consul


def registered(address: str, *tokens: str) -> Deployed:
    """Deploy the resource with some tokens, whose first one is the servers' own."""

    def program() -> None:
        server = pulumi.CustomResource("test:index:Server", "server", {})
        secrets = [pulumi.Output.secret(token) for token in tokens]
        opts = pulumi.ResourceOptions(depends_on=[server])
        register_management_tokens("management", secrets, Connection(address, secrets[0]), opts)

    return deploy(program)


def fingerprints(*tokens: str) -> str:
    return " ".join(map(fingerprint, tokens))


def replaced(address: str, before: str, *tokens: str) -> str:
    """Return why the engine cannot update the resource that has these texts in the state, or blank."""
    return registered(address, *tokens).call(REPLACE, {"input": secret(before)}, input=secret(fingerprints(*tokens)))


def test_the_state_knows_each_token_by_its_fingerprint() -> None:
    # The first one would stay there for good, after its rotation too.
    assert registered(NOBODY, OLD, NEW).sent("management") == {"input": secret(fingerprints(OLD, NEW))}


def test_tokens_are_created_and_deleted_before_the_state_has_them_and_when_the_servers_are_there() -> None:
    # A run that fails at it does it again.
    found = registered(NOBODY, OLD, NEW)
    assert found.bound("management") == {"before_create": [CREATE], "before_update": [REPLACE]}
    assert found.waits_for("management") == {"server"}


def test_the_servers_own_token_is_created_by_themselves() -> None:
    assert registered(NOBODY, OLD).bound("management") == {"before_update": [REPLACE]}


@pytest.mark.parametrize("update", [True, False], ids=["of a running cluster", "of a new one"])
def test_a_second_token_is_created_with_all_rights_and_the_first_one_stays(servers: FakeConsul, update: bool) -> None:
    servers.secrets = {"old": OLD}
    found = registered(servers.address, OLD, NEW)
    assert (replaced(servers.address, fingerprints(OLD), OLD, NEW) if update else found.call(CREATE)) == ""
    rights = {"SecretID": NEW, "Description": "Management token", "Policies": [{"Name": "global-management"}]}
    assert servers.wrote == [("consul", "/v1/acl/token", rights)]


def test_a_token_that_an_interrupted_run_created_is_not_created_again(servers: FakeConsul) -> None:
    servers.secrets = {"old": OLD, "new": NEW}
    assert (replaced(servers.address, fingerprints(OLD), OLD, NEW), servers.wrote) == ("", [])


@pytest.mark.parametrize(
    "stashed", [fingerprint(BEFORE), BEFORE, fingerprints(BEFORE, OLD)], ids=["alone", "of an earlier release", "both"]
)
def test_a_token_that_is_stated_no_more_is_deleted_with_the_one_that_stays(servers: FakeConsul, stashed: str) -> None:
    # No token can remove itself.
    servers.secrets = {"before": BEFORE, "old": OLD}
    assert replaced(servers.address, stashed, OLD) == ""
    assert servers.wrote == [("consul", "DELETE /v1/acl/token/before", None)]
    assert servers.tokens == {OLD}


def test_a_state_of_an_earlier_release_gets_the_fingerprint_and_the_token_stays(servers: FakeConsul) -> None:
    servers.secrets = {"old": OLD}
    assert (replaced(servers.address, OLD, OLD), servers.wrote) == ("", [])


def test_a_token_that_is_gone_already_is_no_error(servers: FakeConsul) -> None:
    servers.secrets = {"old": OLD}
    assert (replaced(servers.address, fingerprint(BEFORE), OLD), servers.wrote) == ("", [])


def test_servers_that_refuse_to_delete_a_token_are_an_error_in_their_own_words(servers: FakeConsul) -> None:
    servers.secrets = {"before": BEFORE}
    servers.refuses_writes = (403, "Permission denied")
    assert replaced(servers.address, fingerprint(BEFORE), OLD) == (
        f"DELETE {servers.address}/v1/acl/token/before: Consul answers 403: Permission denied"
    )


@pytest.mark.usefixtures("_no_pauses")
def test_servers_that_do_not_answer_are_an_error() -> None:
    # The old token would stay valid, and no later run would know of it.
    failure = replaced(NOBODY, fingerprint(BEFORE), OLD)
    assert failure.startswith(f"the management tokens are not replaced: GET {NOBODY}/")
    assert registered(NOBODY, OLD, NEW).call(CREATE).startswith(f"GET {NOBODY}/")


# Their order in the settings


def keys(*tokens: str) -> Deployed:
    def program() -> None:
        made = ClusterKeys("keys", ClusterKeysArgs("https://127.0.0.1:8500", [], management_tokens=tokens))
        pulumi.export("management", made.management)
        pulumi.export("every", made.management_tokens)

    return deploy(program)


def test_the_first_token_is_the_servers_own() -> None:
    found = keys("2", "1")
    assert found.requests.keys() >= {"keys-management", "keys-management-2"}
    assert found.exports["every"][0] == found.exports["management"] != found.exports["every"][1]


@pytest.mark.parametrize(
    ("before", "after", "first"),
    [(["1"], ["2"], ["1", "2"]), (["1"], ["2", "1"], ["1", "2"]), (["1", "2"], ["3", "2"], ["1", "2", "3"])],
)
def test_a_token_that_the_servers_do_not_know_yet_is_refused_in_a_preview_too(
    before: Sequence[str], after: Sequence[str], first: Sequence[str]
) -> None:
    assert REFUSE in keys("1").previewed
    assert keys("1").call(REFUSE, {"input": before}, input=after) == (
        f"Pulumi.stack.yaml: managementTokens: the servers would not know the token {after[0]} yet: "
        f"set it to {first} first"
    )


@pytest.mark.parametrize(
    ("before", "after"), [(["1"], ["1", "2"]), (["1", "2"], ["2"]), (["1", "2"], ["2", "1"]), (["1", "2"], ["1"])]
)
def test_each_step_of_a_replacement_is_taken_and_can_be_taken_back(before: Sequence[str], after: Sequence[str]) -> None:
    assert keys("1").call(REFUSE, {"input": before}, input=after) == ""
