"""Options that a component gives to its children."""

import pulumi


def child_options(
    parent: pulumi.Resource, opts: pulumi.ResourceOptions | None, provider: pulumi.ProviderResource | None = None
) -> pulumi.ResourceOptions:
    """Return the options of a component's child.

    The child also depends on what the component depends on: Pulumi does not add that by itself.
    """
    return pulumi.ResourceOptions(parent=parent, provider=provider, depends_on=opts.depends_on if opts else None)
