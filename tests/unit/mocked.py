"""Pulumi without an engine: runs a program against mocks and keeps what it asked to be registered."""

from collections.abc import Callable, Iterable, Mapping
from contextvars import Context
from dataclasses import dataclass
from typing import Any

import pulumi.runtime
from pulumi.runtime.mocks import MockMonitor
from pulumi.runtime.proto.resource_pb2 import (
    RegisterResourceOutputsRequest,
    RegisterResourceRequest,
    RegisterResourceResponse,
)

PROJECT = "consul-staging"
STACK = "test"
ROOT = f"urn:pulumi:{STACK}::{PROJECT}::pulumi:pulumi:Stack::{PROJECT}-{STACK}"

# How the SDK spells a secret to the engine: https://github.com/pulumi/pulumi, sdk/go/common/resource/sig.go
_SECRET = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270"}


def secret(value: str) -> dict[str, str]:
    """Return a secret as it stands in a resource's inputs."""
    return {**_SECRET, "value": value}


class _Nothing(pulumi.runtime.Mocks):
    """Every resource is what it was asked to be."""

    def call(self, _args: pulumi.runtime.MockCallArgs) -> tuple[dict[str, Any], None]:
        return {}, None

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        return f"{args.name}-id", args.inputs


class _Monitor(MockMonitor):
    """Keeps whole requests: the mocks alone are told neither of parents and options nor of a component's outputs."""

    def __init__(self) -> None:
        super().__init__(_Nothing())
        self.requests: list[RegisterResourceRequest] = []
        self.outputs: dict[str, dict[str, Any]] = {}

    def RegisterResource(self, request: RegisterResourceRequest) -> RegisterResourceResponse:  # noqa: N802 - gRPC's name
        self.requests.append(request)
        response: RegisterResourceResponse = super().RegisterResource(request)  # type: ignore[no-untyped-call]
        return response

    def RegisterResourceOutputs(self, request: RegisterResourceOutputsRequest) -> object:  # noqa: N802 - gRPC's name
        self.outputs[request.urn] = pulumi.runtime.rpc.deserialize_properties(request.outputs)
        return super().RegisterResourceOutputs(request)  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Deployed:
    """What a program did.

    Attributes:
        requests: registrations as the engine got them, by the resource's name, but for the stack's own.
        outputs: registered outputs by URN.
        exports: the stack's outputs.
    """

    requests: Mapping[str, RegisterResourceRequest]
    outputs: Mapping[str, dict[str, Any]]
    exports: Mapping[str, Any]

    def inputs(self, name: str) -> dict[str, Any]:
        return dict(pulumi.runtime.rpc.deserialize_properties(self.requests[name].object))

    def of_type(self, type_: str) -> dict[str, RegisterResourceRequest]:
        return {name: request for name, request in self.requests.items() if request.type == type_}


def deploy(
    program: Callable[[], object], config: Mapping[str, str] | None = None, secrets: Iterable[str] = ()
) -> Deployed:
    """Run a program until everything that it started has ended; an exception anywhere in it is raised here.

    Args:
        program: what `__main__.py` does.
        config: the stack's, by key without the project's name.
        secrets: the keys of it that the stack's file holds encrypted.
    """

    def run() -> Deployed:
        monitor = _Monitor()
        pulumi.runtime.set_mocks(monitor.mocks, PROJECT, STACK, preview=False, monitor=monitor)
        pulumi.runtime.set_all_config(
            {f"{PROJECT}:{key}": value for key, value in (config or {}).items()},
            [f"{PROJECT}:{key}" for key in secrets],
        )
        pulumi.runtime.test(lambda: program() and None)()  # type: ignore[no-untyped-call]
        stack = pulumi.runtime.get_root_resource()
        assert isinstance(stack, pulumi.runtime.stack.Stack)
        named = {request.name: request for request in monitor.requests if request.type != "pulumi:pulumi:Stack"}
        assert len(named) == len(monitor.requests) - 1, "two resources have one name"
        return Deployed(named, monitor.outputs, stack.outputs)

    # The SDK keeps its settings, the config and the stack in context variables: in a context of its own, a run leaves
    # nothing to the next.
    return Context().run(run)
