"""Whether Consul's KV store has the services' values as stated."""

from consul_cluster.client import KvEntry
from consul_cluster.ownership import kv_flags
from operations.stack import Stack
from operations.verify import advice
from operations.verify.findings import Finding, Verdict, unseen
from operations.verify.observed_state import ObservedState
from services.configuration_values import has_value


def kv_entries(observed: ObservedState) -> Verdict | None:
    """Judge the values that the stack writes into the KV store; None where it writes none."""
    stack = observed.stack
    if not stack.kv_entries:
        return None
    if observed.kv_entries is None:
        return unseen("configuration")
    differing = {
        key: (value, entry)
        for key, value in stack.kv_entries.items()
        if not ((entry := observed.kv_entries[key]) and has_value(entry.text, value))
    }
    findings = [_finding(stack, key, value, entry) for key, (value, entry) in differing.items()]
    well = len(stack.kv_entries) - len(findings)
    return Verdict("configuration", f"{well} of {len(stack.kv_entries)} values in the KV store are as stated", findings)


def _finding(stack: Stack, key: str, value: str, entry: KvEntry | None) -> Finding:
    deploy = advice.deploy(stack)
    if not entry:
        return Finding(key, value, "no such key", deploy)
    if entry.flags == kv_flags(stack.owner_prefix):
        return Finding(key, value, entry.text, deploy)
    return Finding(
        key, value, f"{entry.text}, which another party wrote", f"take it out of services/; or {advice.adopt(stack)}"
    )
