"""Options that a component hands to its children."""

import pulumi


def child_options(
    parent: pulumi.Resource, opts: pulumi.ResourceOptions | None, provider: pulumi.ProviderResource | None = None
) -> pulumi.ResourceOptions:
    """Return the options of a component's child.

    What a component depends on, its children do not wait for by themselves.
    """
    return pulumi.ResourceOptions(parent=parent, provider=provider, depends_on=opts.depends_on if opts else None)
