import pytest

from operations.output import print_change

SERVICE = "pulumi-python:dynamic/consul:AgentService registration-billing_service"


@pytest.mark.parametrize(
    "line",
    [
        f" +  {SERVICE} created (0.04s)",
        f" ~  {SERVICE} updated (0.04s) [diff: ~checks]",
        f" +  {SERVICE} creating (0s) error: service id 'billing_service' is already registered",
        f" +  {SERVICE} **creating failed** error: service id 'billing_service' is already registered",
        f" ~  {SERVICE} refresh (0.04s) [diff: ~tags]",
        f" ~  {SERVICE} refreshing (0s) error: no answer",
        " +  docker:index:RemoteImage agent-image creating (0s)",
        "    server staging-consul: running",
        "    services: 40 of 40 containers run",
        "    42 unchanged",
        "40 of 40 passing",
        "",
    ],
)
def test_what_changes_and_what_fails_is_printed(capsys: pytest.CaptureFixture[str], line: str) -> None:
    print_change(line)
    assert capsys.readouterr().out == f"{line}\n"


@pytest.mark.parametrize(
    "line",
    [
        f"    {SERVICE}",
        f" ~  {SERVICE} refreshing (0s)",
        f" ~  {SERVICE} refresh (0.00s)",
        f" +  {SERVICE} creating (0s)",
        " ~  docker:index:Container agent-container refreshing (0s)",
        "    docker:index:Container agent-container",
        "    pulumi:pulumi:Stack consul-staging-local running",
        "The resources in the stack have been deleted, but the history and configuration associated with the stack are",
        "If you want to remove the stack completely, run `pulumi stack rm local`.",
    ],
)
def test_what_stays_and_what_only_begins_is_not_printed(capsys: pytest.CaptureFixture[str], line: str) -> None:
    print_change(line)
    assert capsys.readouterr().out == ""
