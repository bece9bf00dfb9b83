"""Which lines of the engine's `preview --diff` are printed."""

import pytest

from operations.preview import Differences

URN = "urn:pulumi:local::consul-staging::consul-staging:registration:AgentRegistration$…::registration-billing_service"


def printed(capsys: pytest.CaptureFixture[str], lines: str) -> str:
    """Return what is printed of a preview."""
    take = Differences()
    for line in lines.splitlines():
        take(line)
    return capsys.readouterr().out


def test_of_an_updated_resource_the_changed_fields_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    lines = f"""\
Previewing update (local):
    ~ pulumi-python:dynamic/consul:AgentService: (update)
        [id=billing_service]
        [urn={URN}]
        address   : "127.0.0.3"
      ~ checks    : {{
          ~ billing_service-health: {{
              ~ http    : "http://127.0.0.3:8216/health" => "http://127.0.0.3:8999/health"
                interval: "10s"
            }}
        }}
        meta      : {{
            version: "v1"
        }}
      ~ port      : 8216 => 8999
        tags      : [
            [0]: "v1"
        ]
    --outputs:--
  ~ service/billing_service      : {{
      ~ address: "127.0.0.3:8216" => "127.0.0.3:8999"
        check  : "http://127.0.0.3:8216/health"
    }}
Resources:
    ~ 1 to update
    41 unchanged
"""
    assert (
        printed(capsys, lines)
        == f"""\
Previewing update (local):
    ~ pulumi-python:dynamic/consul:AgentService: (update)
        [id=billing_service]
        [urn={URN}]
      ~ checks    : {{
          ~ billing_service-health: {{
              ~ http    : "http://127.0.0.3:8216/health" => "http://127.0.0.3:8999/health"
            }}
        }}
      ~ port      : 8216 => 8999
    --outputs:--
  ~ service/billing_service      : {{
      ~ address: "127.0.0.3:8216" => "127.0.0.3:8999"
    }}
Resources:
    ~ 1 to update
    41 unchanged
"""
    )


REFRESHED = f"""\
        ~ docker:index/container:Container: (refresh)
            [id=f7c180]
            [urn={URN}]
            --outputs:--
          + dns             : []
          ~ networksAdvanced: [
              ~ [0]: {{
                      + gwPriority: 0
                        name      : "staging_staging-network"
                    }}
            ]
          + tmpfs           : {{}}
"""
STACK = """\
  pulumi:pulumi:Stack: (same)
Resources:
    104 unchanged
"""


def test_of_a_refreshed_resource_nothing_is_printed_that_is_only_an_empty_field(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = f"~ pulumi:pulumi:Stack: (refresh)\n    [urn={URN}]\n{REFRESHED}{STACK}"
    assert printed(capsys, lines) == STACK


@pytest.mark.parametrize(
    "difference", ['~ image: "sha256:5c1b" => "sha256:7d22"', "- mustRun: true", '+ labels: "com.example"']
)
def test_a_refreshed_resource_that_differs_is_printed_whole(
    capsys: pytest.CaptureFixture[str], difference: str
) -> None:
    differing = f"{REFRESHED}          {difference}\n"
    assert printed(capsys, REFRESHED + differing + STACK) == differing + STACK


@pytest.mark.parametrize(
    "lines",
    [
        f"""\
    + pulumi-python:dynamic/consul:AgentService: (create)
        [urn={URN}]
        address   : "127.0.0.3"
        meta      : {{
            version: "v1"
        }}
""",
        """\
    +-docker:index/container:Container: (replace)
        [id=5c1b]
        image: "sha256:5c1b"
""",
        """\
    ~ pulumi-python:dynamic/consul:AgentService: (update)
Diagnostics:
  pulumi:pulumi:Stack (consul-staging-local):
    error: Program failed
    Pulumi.local.yaml: registration: 'agnet' must be 'agent', 'catalog' or 'files'
""",
        """\
+ pulumi:pulumi:Stack: (create)
    [urn=urn:pulumi:local::consul-staging::pulumi:pulumi:Stack::consul-staging-local]
    --outputs:--
    agent                          : "http://127.0.0.2:8500"
""",
    ],
    ids=["created", "replaced", "refused", "new stack"],
)
def test_of_anything_else_every_line_is_printed(capsys: pytest.CaptureFixture[str], lines: str) -> None:
    assert printed(capsys, lines) == lines
