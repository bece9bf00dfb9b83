import pytest

from services.marks import FILES, marked, owner, same_owners_files
from services.roster import roster

BILLING = next(each for each in roster().services if each.name == "billing_service")


def test_the_marks_of_a_stack_begin_with_its_project_and_name() -> None:
    assert owner("consul-staging", "staging") == "pulumi/consul-staging/staging/"


@pytest.mark.parametrize("other", [("consul-staging", "staging2"), ("consul-staging2", "staging"), ("consul", "s")])
def test_no_stacks_marks_begin_as_anothers_do(other: tuple[str, str]) -> None:
    ours = owner("consul-staging", "staging")
    assert not f"{owner(*other)}registration-billing_service".startswith(ours)
    assert not f"{ours}registration-billing_service".startswith(owner(*other))


def test_what_stands_for_the_definition_files_is_this_for_ever() -> None:
    # Agents bear it: after another name, a stack would not know its own.
    assert FILES == "definition-files"


def test_the_mark_of_a_stacks_files_is_known_from_any_of_its_resources() -> None:
    found = same_owners_files("pulumi/consul-staging/staging/registration-billing_service")
    assert found == "pulumi/consul-staging/staging/definition-files"


def test_a_marked_service_has_the_mark_beside_its_other_meta() -> None:
    assert marked(BILLING, "somebody").meta == {
        "version": "v1",
        "environment": "staging",
        "team": "user-platform",
        "managed-by": "somebody",
    }


def test_a_marked_service_is_otherwise_the_same() -> None:
    found = marked(BILLING, "somebody")
    assert found.model_copy(update={"meta": BILLING.meta}) == BILLING


def test_marking_a_service_leaves_it_as_it_was() -> None:
    marked(BILLING, "somebody")
    assert "managed-by" not in BILLING.meta


def test_a_mark_takes_the_place_of_another() -> None:
    assert marked(marked(BILLING, "somebody"), "another").meta["managed-by"] == "another"
