"""Pulumi without an engine: runs a program against mocks and keeps what it asked to be registered."""

import gc
import hashlib
import runpy
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import pulumi.runtime
import pytest
import yaml
from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]
from pulumi.runtime._callbacks import _CallbackServicer
from pulumi.runtime.mocks import MockMonitor
from pulumi.runtime.proto.resource_pb2 import (
    RegisterResourceHookRequest,
    RegisterResourceOutputsRequest,
    RegisterResourceRequest,
    RegisterResourceResponse,
    ResourceHookRequest,
    ResourceHookResponse,
)

from components import preflight as found
from services import roster
from tests.event_loop import run_to_end
from tests.forty_services import forty_roster

HOUSE = Path(__file__).parents[2]
PROJECT = "consul-staging"
STACK = "test"
ROOT = f"urn:pulumi:{STACK}::{PROJECT}::pulumi:pulumi:Stack::{PROJECT}-{STACK}"

# How the SDK spells a secret to the engine: https://github.com/pulumi/pulumi, sdk/go/common/resource/sig.go
_SECRET = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270"}


def secret(value: str) -> dict[str, str]:
    """Return a secret as it stands in a resource's inputs."""
    return {**_SECRET, "value": value}


def made_password(name: str) -> str:
    """Return what stands for the 32 random letters or digits of a resource of this name."""
    return hashlib.sha256(name.encode()).hexdigest()[:32]


# What a provider makes of each type, and how that is called here.
_PEM = {
    "tls:index/privateKey:PrivateKey": ("privateKeyPem", "private"),
    "tls:index/certRequest:CertRequest": ("certRequestPem", "request"),
    "tls:index/selfSignedCert:SelfSignedCert": ("certPem", "certificate"),
    "tls:index/locallySignedCert:LocallySignedCert": ("certPem", "certificate"),
}


def _made(args: pulumi.runtime.MockResourceArgs) -> dict[str, Any]:
    """What a provider makes of its own; of a secret, its name tells which one it is."""
    match args.typ:
        case "random:index/randomPassword:RandomPassword":
            return {"result": made_password(args.name)}
        case type_ if type_ in _PEM:
            return {key: f"{what} {args.name}" for key, what in [_PEM[type_]]}
        case "pulumi-python:dynamic/consul:AclTokenSecret":
            return {"secret": f"secret-of-{args.inputs['accessor']}"}
        case "pulumi:index:Stash":
            return {"output": args.inputs["input"]}
    return {}


class _Nothing(pulumi.runtime.Mocks):
    """Every resource is what it was asked to be, and has what its provider makes of its own."""

    def call(self, _args: pulumi.runtime.MockCallArgs) -> tuple[dict[str, Any], None]:
        return {}, None

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        return f"{args.name}-id", {**args.inputs, **_made(args)}


NETWORK = "staging_staging-network"
CONSUL = "hashicorp/consul:1.17.2"
IDS = {CONSUL: "sha256:5a5d1a1e8b6c", "hashicorp/consul-esm:0.9.0": "sha256:e50e50e50e50"}
OTHER_ID = "sha256:07e407e407e4"

# Parts of URNs: another one would replace, and so delete, what is running.
DOCKER_NETWORK = "docker:index/network:Network"
REMOTE_IMAGE = "docker:index/remoteImage:RemoteImage"
BUILT_IMAGE = "docker:index/image:Image"
VOLUME = "docker:index/volume:Volume"
CONTAINER = "docker:index/container:Container"


class Docker(pulumi.runtime.Mocks):
    """A Docker engine that gives a pulled image its id; keeps what it was asked and expected to have."""

    def __init__(self) -> None:
        self.calls: list[pulumi.runtime.MockCallArgs] = []
        self.expected: list[found.Prerequisites] = []
        self.rights: list[found.TokenRights] = []

    @property
    def asked(self) -> list[tuple[str, dict[str, Any]]]:
        """Function and arguments of each call."""
        return [(call.token, call.args) for call in self.calls]

    def call(self, args: pulumi.runtime.MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        self.calls.append(args)
        return {}, []

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        computed = _made(args)
        if args.typ == REMOTE_IMAGE:
            computed = {"imageId": IDS.get(args.inputs["name"], OTHER_ID)}
        return f"{args.name}-id", {**args.inputs, **computed}


Hook = Callable[[bytes], Awaitable[ResourceHookResponse]]


class _Monitor(MockMonitor):
    """Keeps whole requests: the mocks alone get neither parents and options nor a component's outputs."""

    def __init__(self, mocks: pulumi.runtime.Mocks) -> None:
        super().__init__(mocks)
        self.requests: list[RegisterResourceRequest] = []
        self.outputs: dict[str, dict[str, Any]] = {}
        self.hooks: dict[str, Hook] = {}
        self.previewed: set[str] = set()

    def RegisterResource(self, request: RegisterResourceRequest) -> RegisterResourceResponse:  # noqa: N802 - gRPC's name
        self.requests.append(request)
        response: RegisterResourceResponse = super().RegisterResource(request)  # type: ignore[no-untyped-call]
        for key in request.additionalSecretOutputs:  # as the engine does
            if isinstance(value := dict(response.object).get(key), str):
                response.object.update({key: secret(value)})
        return response

    def RegisterResourceOutputs(self, request: RegisterResourceOutputsRequest) -> object:  # noqa: N802 - gRPC's name
        self.outputs[request.urn] = pulumi.runtime.rpc.deserialize_properties(request.outputs)
        return super().RegisterResourceOutputs(request)  # type: ignore[no-untyped-call]

    def RegisterResourceHook(self, request: RegisterResourceHookRequest) -> object:  # noqa: N802 - gRPC's name
        assert request.name not in self.hooks, "two hooks have one name"
        if request.on_dry_run:
            self.previewed.add(request.name)
        [self.hooks[request.name]] = [
            each._callbacks[request.callback.token]
            for each in _CallbackServicer._servicers
            if request.callback.token in each._callbacks
        ]
        return super().RegisterResourceHook(request)  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Deployed:
    """What a program did.

    Attributes:
        requests: registrations as the engine got them, in that order, by the resource's name, but for the stack's own.
        outputs: registered outputs by URN.
        exports: the stack's outputs.
        sent_exports: the same as they are sent, where a secret within one stands at its own place.
        hooks: what the engine is to call, by the hook's name.
        previewed: the names of those that it is to call in a preview too.
    """

    requests: Mapping[str, RegisterResourceRequest]
    outputs: Mapping[str, dict[str, Any]]
    exports: Mapping[str, Any]
    sent_exports: Mapping[str, Any]
    hooks: Mapping[str, Hook]
    previewed: set[str]

    def inputs(self, name: str) -> dict[str, Any]:
        return dict(pulumi.runtime.rpc.deserialize_properties(self.requests[name].object))

    def sent(self, name: str) -> dict[str, Any]:
        """A resource's inputs as they are sent, where a secret within one stands at its own place."""
        return dict(MessageToDict(self.requests[name].object))

    def of_type(self, type_: str) -> dict[str, RegisterResourceRequest]:
        return {name: request for name, request in self.requests.items() if request.type == type_}

    def waits_for(self, name: str) -> set[str]:
        return {each.rpartition("::")[2] for each in self.requests[name].dependencies}

    def bound(self, name: str) -> dict[str, list[str]]:
        """The names of the hooks that a resource is bound to, by when they run; plain functions have no name."""
        fields = self.requests[name].hooks.ListFields()
        named = {when.name: [hook for hook in hooks if not self._is_function(hook, name)] for when, hooks in fields}
        return {when: hooks for when, hooks in named.items() if hooks}

    @property
    def named_hooks(self) -> set[str]:
        """The names of all hooks; plain functions have none."""
        return {hook for hook in self.hooks if not any(self._is_function(hook, name) for name in self.requests)}

    def functions_before_creation(self, name: str) -> int:
        """How many plain functions are called before a resource is created."""
        return sum(self._is_function(hook, name) for hook in self.requests[name].hooks.before_create)

    def _is_function(self, hook: str, name: str) -> bool:
        return hook.startswith(f"{self.requests[name].type}_{name}_")  # the SDK's own name for it

    def call(
        self,
        hook: str,
        olds: Mapping[str, Any] | None = None,
        /,
        outputs: Mapping[str, Any] | None = None,
        **inputs: Any,  # noqa: ANN401 - the same
    ) -> str:
        """Call a hook as the engine does, for a resource with these inputs; returns why it failed, or blank.

        Args:
            hook: its name.
            olds: the resource's inputs and outputs before an update.
            outputs: the resource's, after it was created.
            inputs: the resource's, as they are sent.
        """
        request = ResourceHookRequest()
        request.new_outputs.update(outputs or {})
        request.new_inputs.update(inputs)
        request.old_inputs.update(olds or {})
        request.old_outputs.update(olds or {})

        async def answer() -> str:
            return (await self.hooks[hook](request.SerializeToString())).error

        return run_to_end(answer())


def deploy(
    program: Callable[[], object],
    config: Mapping[str, str] | None = None,
    secrets: Iterable[str] = (),
    mocks: pulumi.runtime.Mocks | None = None,
    stack_name: str = STACK,
    *,
    preview: bool = False,
) -> Deployed:
    """Run a program until everything that it started has ended; an exception anywhere in it is raised here.

    Args:
        program: what `__main__.py` does.
        config: the stack's, by key without the project's name.
        secrets: the keys of it that the stack's file holds encrypted.
        mocks: what stands for the providers.
        stack_name: of the stack.
        preview: run it as a preview does.
    """

    def run() -> Deployed:
        monitor = _Monitor(mocks or _Nothing())
        pulumi.runtime.set_mocks(monitor.mocks, PROJECT, stack_name, preview=preview, monitor=monitor)
        pulumi.runtime.set_all_config(
            {f"{PROJECT}:{key}": value for key, value in (config or {}).items()},
            [f"{PROJECT}:{key}" for key in secrets],
        )
        pulumi.runtime.test(lambda: program() and None)()  # type: ignore[no-untyped-call]
        stack = pulumi.runtime.get_root_resource()
        assert isinstance(stack, pulumi.runtime.stack.Stack)
        named = {request.name: request for request in monitor.requests if request.type != "pulumi:pulumi:Stack"}
        assert len(named) == len(monitor.requests) - 1, "two resources have one name"
        sent = run_to_end(pulumi.runtime.rpc.serialize_properties(dict(stack.outputs), {}))
        return Deployed(named, monitor.outputs, stack.outputs, MessageToDict(sent), monitor.hooks, monitor.previewed)

    # The SDK keeps its settings, the config and the stack in context variables: in a context of its own, a run leaves
    # nothing to the next.
    with _no_garbage_collection():
        return Context().run(run)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Keep the collector from going through all that a run makes, again and again: a third of the run's time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def on_docker(
    program: Callable[[], object],
    config: Mapping[str, str] | None = None,
    secrets: Iterable[str] = (),
    names: Collection[str] = (),
) -> tuple[Deployed, Docker]:
    """Deploy the forty services, or those of some names, where there is a Docker engine."""
    engine = Docker()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(roster, "load_roster", partial(forty_roster, names=names))
        patch.setattr(found, "report", engine.expected.extend)  # asks the machine's own engine, if it has one
        patch.setattr(found, "refuse_unfit_agent", engine.rights.append)  # and its own Consul
        return deploy(program, config, secrets, engine), engine


SECURED = "secured docker-local"
"""The stack `docker-local` with security on; none of the committed ones, but the same otherwise."""

_SECURED = {
    "security": "on",
    "agentAddress": "https://127.0.0.1:8501",
    "serverAddress": "https://127.0.0.1:8500",
}


def stack_config(stack: str) -> dict[str, str]:
    """Return the config of a committed stack, or of `SECURED`, as the engine hands it to the program: all is text."""
    secured, _, name = stack.rpartition(" ")
    keys = yaml.safe_load((HOUSE / f"Pulumi.{name}.yaml").read_text())["config"]
    config = {
        key.removeprefix("consul-staging:"): str(value).lower() if isinstance(value, bool) else value
        for key, value in keys.items()
    }
    return {**config, **(_SECURED if secured else {})}


def run_main() -> None:
    """Run the whole program."""
    runpy.run_path(str(HOUSE / "__main__.py"))


def program(stack: str, registration: str = "agent") -> tuple[Deployed, Docker]:
    """Return the whole program with the config of a committed stack."""
    return program_with({**stack_config(stack), "registration": registration})


def program_with(
    config: Mapping[str, str], secrets: Iterable[str] = (), names: Iterable[str] = ()
) -> tuple[Deployed, Docker]:
    """Return the whole program with any config; all tests with the same arguments share one run.

    Args:
        config: of the stack.
        secrets: the keys of it that the stack's file holds encrypted.
        names: of the services; without any, the forty.
    """
    return _program(frozenset(config.items()), tuple(secrets), tuple(names))


@cache
def _program(
    config: frozenset[tuple[str, str]], secrets: tuple[str, ...], names: tuple[str, ...]
) -> tuple[Deployed, Docker]:
    return on_docker(run_main, dict(config), secrets, names=names)
