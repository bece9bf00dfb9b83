"""What it means for a resource that a Consul of the stack's own gives no answer."""

from functools import cache

from consul_cluster.client import ConsulError, NoAnswerError, SilentError
from docker_engine import OWN_ENGINE, DockerEngine, publishes


# Every resource of a Consul that is gone asks: over ssh, each question is a connection.
@cache
def _is_published(engine: DockerEngine, address: str) -> bool:
    return publishes(engine, address)


def is_still_there(error: ConsulError, address: str, engine: DockerEngine = OWN_ENGINE) -> bool:
    """Return whether a Consul that gave no answer has what it had: it hangs, or its container starts again."""
    return isinstance(error, SilentError) or (isinstance(error, NoAnswerError) and _is_published(engine, address))
