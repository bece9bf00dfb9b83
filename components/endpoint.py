"""Where an API of Consul's answers."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pulumi

from cluster.client import Consul, ConsulError, NoAnswerError


@dataclass(frozen=True)
class Endpoint:
    """One agent's API, and what it takes to be let in.

    Attributes:
        address: `http://host:port` or `https://host:port`, as seen from where Pulumi runs.
        token: ACL token; kept as a secret.
        ca: PEM text of the authority behind the API's certificate; None: the system's authorities.
    """

    address: str
    token: pulumi.Input[str] | None = field(default=None, repr=False)
    ca: pulumi.Input[str] | None = None

    @property
    def secret_token(self) -> pulumi.Output[str] | None:
        """The token, as a secret."""
        return pulumi.Output.secret(self.token) if self.token is not None else None

    async def consul(self) -> Consul:
        """Return its client, once token and authority are known: for what the engine calls while it runs."""
        token, ca = [await pulumi.Output.from_input(each).future() for each in (self.token, self.ca)]
        return Consul(self.address, token, ca)


_PATIENCE, _PAUSE = 60, 0.1  # seconds


async def wait_until(ready: Callable[[], bool], otherwise: str) -> None:
    """Wait for what Consul does by itself; what it refuses in the meantime is for its being not ready.

    Raises:
        ConsulError: it is not so within a minute: says what then.
    """
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        with suppress(ConsulError):
            if ready():
                return
        await asyncio.sleep(_PAUSE)
    raise ConsulError(otherwise)


async def wait_for_leader(servers: Consul, token: bool) -> None:
    """Wait until servers that answer have a leader, which is up to ten seconds later, and know their own tokens.

    Raises:
        ConsulError: they have none within a minute.
    """
    await wait_until(
        lambda: bool(servers.leader() and (not token or servers.own_accessor())),
        f"the servers at {servers.address} have no leader after {_PATIENCE} s: see the log of each",
    )


def consul_hook(name: str, work: Callable[[pulumi.ResourceHookArgs], Awaitable[None]]) -> pulumi.ResourceHook:
    """Declare a hook of what talks to Consul, if anybody answers."""

    async def run(args: pulumi.ResourceHookArgs) -> None:
        try:
            await work(args)
        except NoAnswerError:
            pulumi.log.debug(f"{name}: nobody answers: there is nothing to do")

    return pulumi.ResourceHook(name, run)


def stash(
    name: str,
    value: object,
    hook: str,
    change: Callable[[Any, Any], Awaitable[None]],
    opts: pulumi.ResourceOptions,
) -> pulumi.Stash:
    """Keep a value in the state, and have Consul follow before another comes in its place: a failed run does it again.

    Args:
        name: of the resource.
        value: what is kept.
        hook: name of the hook.
        change: takes the value of before and the new one.
        opts: as of every resource.
    """

    async def run(args: pulumi.ResourceHookArgs) -> None:
        kept = [(inputs or {}).get("input") for inputs in (args.old_inputs, args.new_inputs)]
        # What has a secret in it comes as an Output.
        before, after = [await pulumi.Output.from_input(each).future() for each in kept]
        await change(before, after)

    hooks = pulumi.ResourceHookBinding(before_update=[consul_hook(hook, run)])
    return pulumi.Stash(name, input=value, opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(hooks=hooks)))
