"""Today's program changes nothing of a stack that an earlier release deployed."""

import pickle
import re
from collections.abc import Mapping
from typing import Any

import pulumi.runtime
import pytest
from pulumi.runtime.proto.resource_pb2 import RegisterResourceRequest

import services.roster
from components import preflight
from components.acl_secret import AclTokenSecretProvider
from components.registration import draining
from components.registration.agent import AgentServiceProvider
from tests.deployed_states import STATES, DeployedState, plain
from tests.unit.pulumi_mocks import PROJECT, Deployed, deploy, run_main

every_state = pytest.mark.parametrize("state", STATES, ids=str)


class _AsDeployed(pulumi.runtime.Mocks):
    """Every resource has the id and the outputs that it has in a state."""

    def __init__(self, state: DeployedState) -> None:
        self.state = {urn.rpartition("::")[2]: resource for urn, resource in state.resources.items()}

    def call(self, _args: pulumi.runtime.MockCallArgs) -> tuple[dict[str, Any], None]:
        return {}, None

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        resource = self.state.get(args.name, {}) if args.custom else {}
        return resource.get("id", ""), {**args.inputs, **resource.get("outputs", {})}


def run(state: DeployedState) -> Deployed:
    """Run today's program for a stack as a state has it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(services.roster, "load_roster", lambda *_: state.roster)
        patch.setattr(preflight, "report", lambda _: None)
        patch.setattr(preflight, "refuse_unfit_agent", lambda _: None)
        return deploy(run_main, state.config, mocks=_AsDeployed(state), stack_name=state.stack)


def urn(state: DeployedState, request: RegisterResourceRequest) -> str:
    """Return the URN that the engine gives to a resource, all of whose parents are the stack or one component."""
    parent = request.parent.split("::")[2].split("$")[-1]
    type_ = request.type if parent == "pulumi:pulumi:Stack" else f"{parent}${request.type}"
    return f"urn:pulumi:{state.stack}::{PROJECT}::{type_}::{request.name}"


def without_defaults(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return inputs as the program stated them: without what a provider then added by itself."""
    if isinstance(value, list):
        return [without_defaults(each) for each in value]
    if not isinstance(value, dict):
        return value
    added = {"__defaults", *value.get("__defaults", [])}
    return {key: without_defaults(each) for key, each in value.items() if key not in added}


# What a provider adds to the inputs without saying so.
_ADDED = {
    "docker:index/image:Image": {"build": {"contextDigest", "platform"}},
    "pulumi:providers:consul": {"": {"__internal", "version"}},
}


def stated(resource: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs that the program stated of a resource in a state."""
    inputs = without_defaults(resource.get("inputs", {}))
    for field, added in _ADDED.get(resource["type"], {}).items():
        part = inputs[field] if field else inputs
        for key in added:
            part.pop(key, None)
    return dict(inputs)


def unless_ignored(request: RegisterResourceRequest, new: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    """Return new inputs as the engine compares them: what the resource's `ignore_changes` names keeps its old value."""
    ignored = [key for key in request.ignoreChanges if key in {*new, *old}]
    return {key: value for key, value in new.items() if key not in ignored} | {
        key: old[key] for key in ignored if key in old
    }


# What today's program changes on purpose, by the name of the resource, with the fields that differ.
_CHANGED = {
    "standins-image": {"build"},  # another folder with the same files: built again, with the same tag
    # They had the secrets themselves, which a Stash keeps for good.
    "agent-parking": {"input"},
    "agent-parked": {"input"},
    "keys-handed-over": {"input"},
    "acl-management": {"input"},
    "files-reload": {"labels"},  # it got the label `purpose`: it is replaced, and the agent reads the same files
}


# What today's program makes beside what was there.
_NEW = re.compile(r"acl-services-(user|ai|grpc)-(policy|1-token|1-secret)|keys-(authorities|management-tokens)")


def without_changed(urn: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
    changed = _CHANGED.get(urn.rpartition("::")[2], set())
    return {key: value for key, value in inputs.items() if key not in changed}


def without_intended_changes(resources: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {urn: without_changed(urn, inputs) for urn, inputs in resources.items()}


@every_state
def test_todays_program_states_the_resources_of_the_state_with_the_same_inputs(state: DeployedState) -> None:
    deployed = run(state)
    new = {name for name in deployed.requests if _NEW.fullmatch(name)}
    assert len(new) == (11 if "acl" in deployed.requests else 0)
    requests = {urn(state, each): name for name, each in deployed.requests.items() if name not in new}
    old = {each: stated(resource) for each, resource in state.resources.items()}
    inputs = {
        each: unless_ignored(deployed.requests[name], plain(deployed.sent(name)), old.get(each, {}))
        for each, name in requests.items()
    }
    assert without_intended_changes(inputs) == without_intended_changes(old)
    custom = {each: deployed.requests[name].custom for each, name in requests.items()}
    assert custom == {each: resource["custom"] for each, resource in state.resources.items()}
    changed = {each.rpartition("::")[2] for each in old if inputs[each] != old[each]}
    assert changed == {name for name in _CHANGED if any(each.endswith(f"::{name}") for each in old)}


@every_state
def test_todays_program_sees_that_it_states_the_agents_container_of_the_state(state: DeployedState) -> None:
    # Else the first `up` after an upgrade would drain the agent.
    stashes = [
        resource["inputs"]["input"] for urn, resource in state.resources.items() if urn.endswith("::agent-parking")
    ]
    new = [plain(run(state).sent("agent-parking"))["input"]["container"] for _ in stashes]
    assert [draining.stated_container(plain(each)) for each in stashes] == new


def test_the_two_dynamic_providers_of_the_states_load() -> None:
    pickled = {each for state in STATES for each in state.pickled_providers()}
    loaded = {type(pickle.loads(each)) for each in pickled}  # noqa: S301 - the project's own states
    assert loaded == {AgentServiceProvider, AclTokenSecretProvider}
