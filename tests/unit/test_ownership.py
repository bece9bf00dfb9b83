import pytest

from consul_cluster.ownership import DEFINITION_FILES, definition_files_owner, owner_prefix, with_owner
from tests.forty_services import forty_roster

BILLING = next(each for each in forty_roster().services if each.name == "billing_service")


def test_the_owners_of_a_stack_begin_with_its_project_and_name() -> None:
    assert owner_prefix("consul-staging", "staging") == "pulumi/consul-staging/staging/"


@pytest.mark.parametrize("other", [("consul-staging", "staging2"), ("consul-staging2", "staging"), ("consul", "s")])
def test_no_stacks_owners_begin_as_anothers_do(other: tuple[str, str]) -> None:
    ours = owner_prefix("consul-staging", "staging")
    assert not f"{owner_prefix(*other)}registration-billing_service".startswith(ours)
    assert not f"{ours}registration-billing_service".startswith(owner_prefix(*other))


def test_what_stands_for_the_definition_files_is_this_for_ever() -> None:
    # Agents bear it: after another name, a stack would not know its own.
    assert DEFINITION_FILES == "definition-files"


def test_the_owner_of_a_stacks_files_is_derived_from_any_of_its_resources() -> None:
    found = definition_files_owner("pulumi/consul-staging/staging/registration-billing_service")
    assert found == "pulumi/consul-staging/staging/definition-files"


def test_an_owned_service_has_its_owner_beside_its_other_meta() -> None:
    assert with_owner(BILLING, "somebody").meta == {
        "version": "v1",
        "environment": "staging",
        "team": "user-platform",
        "managed-by": "somebody",
    }


def test_a_marked_service_is_otherwise_the_same() -> None:
    found = with_owner(BILLING, "somebody")
    assert found.model_copy(update={"meta": BILLING.meta}) == BILLING


def test_marking_a_service_leaves_it_as_it_was() -> None:
    with_owner(BILLING, "somebody")
    assert "managed-by" not in BILLING.meta


def test_an_owner_takes_the_place_of_another() -> None:
    assert with_owner(with_owner(BILLING, "somebody"), "another").meta["managed-by"] == "another"
