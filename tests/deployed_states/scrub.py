"""Prepares an exported state for this folder: `python -m tests.deployed_states.scrub EXPORTED.json FILE.json`.

It replaces every secret, everywhere in the state, and removes what no preview needs. docs/releases.md says how to
export one.
"""

import base64
import json
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.deployed_states import plain

_REMOVED = {"stackTrace", "sourcePosition", "created", "modified"}
_FAR_AWAY = "2126-01-01T00:00:00Z"  # so that no certificate of a state is ever due for renewal


def replacements(resources: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield each secret of a state, and what derives from it, with its replacement."""
    for number, resource in enumerate(resources):
        outputs, name = plain(resource.get("outputs", {})), resource["urn"].rpartition("::")[2]
        match resource["type"]:
            case "random:index/randomPassword:RandomPassword":
                made, fake = outputs["result"], f"{number:032d}"
                yield made, fake
                yield base64.b64encode(made.encode()).decode(), base64.b64encode(fake.encode()).decode()
                yield outputs["bcryptHash"], "a hash"
                if set(made) <= set("0123456789abcdef"):
                    yield str(uuid.UUID(made)), str(uuid.UUID(fake))
            case "pulumi-python:dynamic/consul:AclTokenSecret":
                yield outputs["secret"], str(uuid.UUID(int=number))
            case type_ if type_.startswith("tls:"):
                keys = {key: value for key, value in outputs.items() if key.startswith(("privateKey", "publicKey"))}
                yield from ((value, f"{key} of {name}\n") for key, value in keys.items() if value)


def replaced(value: Any, secrets: list[tuple[str, str]]) -> Any:  # noqa: ANN401 - JSON
    """Return a value with every secret replaced, also in what stands as JSON in a text."""
    if isinstance(value, list):
        return [replaced(each, secrets) for each in value]
    if isinstance(value, dict) and "plaintext" in value:
        return {**value, "plaintext": json.dumps(replaced(json.loads(value["plaintext"]), secrets))}
    if isinstance(value, dict):
        return {key: replaced(each, secrets) for key, each in value.items()}
    for secret, fake in secrets if isinstance(value, str) else ():
        value = value.replace(secret, fake)
    return value


def scrubbed(exported: dict[str, Any]) -> str:
    """Return an exported state as a file of this folder: a line a resource."""
    deployment = exported["deployment"]
    resources = deployment.pop("resources")
    secrets = sorted(set(replacements(resources)), key=lambda pair: -len(pair[0]))
    lines = []
    for resource in resources:
        kept = replaced({key: value for key, value in resource.items() if key not in _REMOVED}, secrets)
        if "validityEndTime" in kept.get("outputs", {}):
            kept["outputs"]["validityEndTime"] = _FAR_AWAY
        lines.append(json.dumps(kept, separators=(",", ":"), sort_keys=True))
    head = json.dumps(deployment, separators=(",", ":"))[:-1]
    return f'{{"version":3,"deployment":{head},"resources":[\n' + ",\n".join(lines) + "\n]}}\n"


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    target.write_text(scrubbed(json.loads(source.read_text())))
