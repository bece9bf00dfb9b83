"""A client of the platform's: it looks a service up as another service does, and reads its meta as the gateway does."""

from collections.abc import Callable, Mapping, Sequence
from threading import Event, Thread

from tests.platform_service import Registry

FALLBACK = "http://fallback:80"
_PAUSE = 0.02  # seconds between two looks


class DiscoveringClient:
    """Looks again and again while a block runs, from `begin` on.

    Attributes:
        looks: how often it looked.
        missed: what it did not find, a line each.
    """

    def __init__(
        self, registry: Registry, name: str, address: str, metas: Callable[[], Sequence[Mapping[str, str]]], route: str
    ) -> None:
        """Prepare to look.

        Args:
            registry: that it looks with.
            name: of the service that it looks for.
            address: where the service always has to be found.
            metas: returns the meta of all its instances.
            route: the `base_path` that one of these always has to have.
        """
        self.looks, self.missed = 0, list[str]()
        self._registry, self._name, self._address, self._metas, self._route = registry, name, address, metas, route
        self._ended, self._thread = Event(), Thread(target=self._look)
        self._failure: BaseException | None = None

    def __enter__(self) -> "DiscoveringClient":
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread.ident:
            self._thread.join()
        if self._failure:
            raise self._failure

    @property
    def finds_it(self) -> bool:
        return self._registry.discover(self._name, FALLBACK) != FALLBACK

    def begin(self) -> None:
        self._thread.start()

    def _look(self) -> None:
        try:
            while not self._ended.wait(_PAUSE):
                found = self._registry.discover(self._name, FALLBACK)
                routes = {meta["base_path"] for meta in self._metas() if "base_path" in meta}
                self.looks += 1
                if found != self._address:
                    self.missed.append(f"look {self.looks}: found at {found}")
                if routes != {self._route}:
                    self.missed.append(f"look {self.looks}: routes {routes}")
        except BaseException as error:
            self._failure = error
