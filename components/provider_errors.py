"""How a dynamic provider's failures are told."""

import sys
import traceback
from types import SimpleNamespace

from cluster.client import ConsulError


def send_consul_errors_without_traceback() -> None:
    """Have Consul's refusals told in its words alone: the SDK's provider process sends a stack trace with each."""
    process = vars(sys.modules["__main__"])
    if "_abort_with_traceback" in process:
        process["traceback"] = SimpleNamespace(format_exc=_told)


def _told() -> str:
    error = sys.exc_info()[1]
    return str(error) if isinstance(error, ConsulError) else traceback.format_exc()
