"""Options that a component gives to its children."""

from collections.abc import Sequence

import pulumi


def child_options(
    parent: pulumi.Resource, opts: pulumi.ResourceOptions | None, provider: pulumi.ProviderResource | None = None
) -> pulumi.ResourceOptions:
    """Return the options of a component's child.

    The child also depends on what the component depends on: Pulumi does not add that by itself.
    """
    return pulumi.ResourceOptions(parent=parent, provider=provider, depends_on=opts.depends_on if opts else None)


def after(opts: pulumi.ResourceOptions, resources: Sequence[pulumi.Resource]) -> pulumi.ResourceOptions:
    """Return options with which a resource is created after others too, and destroyed before them."""
    return pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=resources))
