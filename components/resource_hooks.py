"""Resource hooks that call Consul, and what they wait for.

https://www.pulumi.com/docs/iac/concepts/resources/options/hooks/
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

import pulumi

from components.consul_connection import Connection
from consul_cluster.client import Consul, ConsulError, NoAnswerError, SilentError
from waiting import wait_until

_TIMEOUT = 60  # seconds
Result = TypeVar("Result")


async def in_own_thread(work: Callable[[], Result]) -> Result:
    """Do what takes long in a thread, so that the other hooks of the run go on; returns what it returns.

    `asyncio.to_thread` takes a thread of the loop. In all of those the SDK may wait for the engine, and the engine for
    this hook: seen with `--parallel 1`, which has four.
    """
    with ThreadPoolExecutor(1) as own:
        return await asyncio.get_running_loop().run_in_executor(own, work)


async def wait_until_ready(ready: Callable[[], bool], message: str, seconds: float = _TIMEOUT) -> None:
    """Wait for something that Consul does by itself. As long as Consul refuses the request, it is not ready.

    Raises:
        ConsulError: it is not ready within these seconds. The error has the given message.
    """

    def is_ready() -> bool:
        with suppress(ConsulError):
            return ready()
        return False

    if not await in_own_thread(lambda: wait_until(is_ready, seconds)):
        raise ConsulError(message)


async def wait_for_leader(servers: Consul, token: bool) -> None:
    """Wait until the servers have elected a leader, which takes them up to ten seconds, and accept the token.

    Args:
        servers: the servers' API.
        token: whether the servers have to know the token of their client.

    Raises:
        ConsulError: they have no leader within a minute.
    """
    await wait_until_ready(
        lambda: bool(servers.leader() and (not token or servers.own_accessor())),
        f"the servers at {servers.address} have no leader after {_TIMEOUT} s: see the log of each",
    )


def await_api(api: Connection, container: str) -> pulumi.ResourceHookBinding:
    """Return the hook that waits until the API of a container answers, once the container was created."""

    async def wait(_args: pulumi.ResourceHookArgs) -> None:
        consul = await api.consul()
        await wait_until_ready(
            consul.answers, f"{api.address} does not answer after {_TIMEOUT} s: see docker logs {container}"
        )

    return pulumi.ResourceHookBinding(after_create=[pulumi.ResourceHook(f"await-{container}", wait)])


def consul_hook(name: str, work: Callable[[pulumi.ResourceHookArgs], Awaitable[None]]) -> pulumi.ResourceHook:
    """Declare a hook that calls Consul. If there is no Consul, the hook does nothing; if it hangs, the run stops."""

    async def run(args: pulumi.ResourceHookArgs) -> None:
        try:
            await work(args)
        except SilentError:
            raise
        except NoAnswerError:
            pulumi.log.debug(f"{name}: Consul does not answer: there is nothing to do")

    return pulumi.ResourceHook(name, run)


def stash(
    name: str,
    value: object,
    hook: str,
    change: Callable[[Any, Any], Awaitable[None]],
    opts: pulumi.ResourceOptions,
) -> pulumi.Stash:
    """Keep a value in the state, and call Consul before another value replaces it. A run that fails repeats the call.

    Args:
        name: of the resource.
        value: what the state keeps, the first one as the resource's output for good: a fingerprint of a secret.
        hook: name of the hook.
        change: takes the old value and the new one.
        opts: as of every resource.
    """

    async def run(args: pulumi.ResourceHookArgs) -> None:
        values = [(inputs or {}).get("input") for inputs in (args.old_inputs, args.new_inputs)]
        # A value that contains a secret is an Output.
        old, new = [await pulumi.Output.from_input(each).future() for each in values]
        await change(old, new)

    return _stash(name, value, consul_hook(hook, run), opts)


def stepwise_stash(
    name: str,
    value: object,
    setting: str,
    why_not: Callable[[Any, Any], str | None],
    opts: pulumi.ResourceOptions,
) -> pulumi.Stash:
    """Keep a setting in the state, and refuse a change that skips a step, in a preview too.

    Args:
        name: of the resource.
        value: of the setting.
        setting: its key.
        why_not: returns why the old value cannot become the new one, and what it can become; None: it can.
        opts: as of every resource.
    """

    def refuse(args: pulumi.ResourceHookArgs) -> None:
        before, after = [(inputs or {})["input"] for inputs in (args.old_inputs, args.new_inputs)]
        if why := why_not(before, after):
            raise pulumi.RunError(f"Pulumi.{pulumi.get_stack()}.yaml: {setting}: {why}")

    return _stash(
        name, value, pulumi.ResourceHook(f"refuse-{name}", refuse, pulumi.ResourceHookOptions(on_dry_run=True)), opts
    )


def _stash(name: str, value: object, before_update: pulumi.ResourceHook, opts: pulumi.ResourceOptions) -> pulumi.Stash:
    hooks = pulumi.ResourceOptions(hooks=pulumi.ResourceHookBinding(before_update=[before_update]))
    return pulumi.Stash(name, input=value, opts=pulumi.ResourceOptions.merge(opts, hooks))
