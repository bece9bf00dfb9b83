"""A resource that nobody registers. Pulumi finds its provider by this module: one of `__main__` it copies whole."""

from typing import Any

from pulumi.dynamic import CreateResult, Resource, ResourceProvider


class IdleProvider(ResourceProvider):
    """Does nothing: what is left of the time is Pulumi's own."""

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Return the inputs."""
        return CreateResult(props["service_id"], props)


class IdleResource(Resource, module="bench", name="Idle"):
    """What nobody registers."""
