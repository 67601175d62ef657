"""A command's cache: found, loaded, saved. It never raises, and logs what it does.

A command without our hooks has an environment of its own: what it leaves is never found
by protected processes, nor the reverse.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Collection, Iterator, Mapping

from pytest_compilecache.cache import CacheResult, OperationStatus, Trouble
from pytest_compilecache.cache.log import LOGGER, log_evicted, log_result
from pytest_compilecache.environment import detect_environment
from pytest_compilecache.errors import EnvironmentUnknownError
from pytest_compilecache.patches import Patches
from pytest_compilecache.places import make_private
from pytest_compilecache.process import CompileProcess, Site, Terms
from pytest_compilecache.save_policy import why_not_saved
from pytest_compilecache.server.interpreters import foreign_python
from pytest_compilecache.server_settings import ServerSettings
from pytest_compilecache.settings import SavePolicy
from pytest_compilecache.workspace.foreign import (
    VLLM,
    ForeignWorkspace,
    choose_for_child,
    choose_for_neighbour,
    drop_entries,
)
from pytest_compilecache.workspace.heal import heal
from pytest_compilecache.workspace.place import Workspace
from pytest_compilecache.workspace.scan import scan

UNGUARDED = {"cache_keys": "torch's own"}

_TORN_PROBE = (
    "a library by which torch probes vector instructions was torn, so what was compiled here "
    "may be for lower ones"
)

_WARM = frozenset({OperationStatus.SUCCESS, OperationStatus.SKIPPED})


class Relation(enum.Enum):
    """How we stand to the command: whether we set its variables."""

    CHILD = "child"
    NEIGHBOUR = "neighbour"


class CommandProcess(CompileProcess):
    """The cache of a command, which is another process than this one.

    Args:
        deployment: The store, the place for work, the limits.
        relation: How we stand to the command.
        policy: Whether to save.
        command: The command, where it is ours.
        environ: The variables that it would have without us.

    Attributes:
        unsaved: Why nothing may be saved, or empty.
    """

    def __init__(
        self,
        deployment: ServerSettings,
        relation: Relation,
        policy: SavePolicy = "auto",
        command: str = "",
        environ: Mapping[str, str] | None = None,
    ) -> None:
        child = dict(os.environ if environ is None else environ)
        super().__init__(self._choose, _report, _report, child)
        self._deployment = deployment
        self._relation = relation
        self._command = command
        self._known: frozenset[str] | None = None
        self._loading = False
        self.unsaved = why_not_saved(policy, self.users_environ, option="--save")
        limits = deployment.limits
        self._terms = Terms(
            deployment.store, limits, bool(self.unsaved), wait_seconds=limits.lock_seconds
        )

    def load_here(self) -> CacheResult:
        """Bring what the store has; afterwards ``site`` says where, unless nothing can be used."""
        self._loading = True
        try:
            result = self.load(self._terms)
        finally:
            self._loading = False
        if not result.usable:
            self.site = None
        return log_result("load", self._deployment.store, result)

    def save_here(self) -> CacheResult:
        """Add what is new to the store."""
        return log_result("save", self._deployment.store, self.save(self._terms))

    def save_at_end(self) -> CacheResult:
        """Add what is new to the store, and bring the caches of a command that ended to its limit.

        Never those of a neighbour: it lives on, and holds no lock.
        """
        result = self.save_here()
        if self._relation is Relation.CHILD and self.site and self._use and not self._loading:
            self.release()
            evicted = self.evict(self._deployment.limits)
            if evicted is not None:
                log_evicted(evicted)
        return result

    def child_environ(self) -> dict[str, str]:
        """The variables for the command."""
        environ = dict(self.environ)
        if self.site is not None:
            patches = Patches(environ)
            for name, value in self.variables(self.site, self._terms):
                patches.setenv(name, value)
        return environ

    def variables(self, site: Site, terms: Terms) -> Iterator[tuple[str, str]]:
        """The variables to set for the command; never one that the user has set."""
        yield from super().variables(site, terms)
        if isinstance(site.workspace, ForeignWorkspace) and not self.users_environ.get(VLLM):
            yield VLLM, str(site.workspace.vllm)

    def _choose(self, users: Mapping[str, str]) -> Site:
        """Find the environment and the folders, the same for every command like this one.

        Raises:
            CompileCacheError: The environment cannot be told, or there is no place to trust.
            OSError: The same.
        """
        other = foreign_python(self._command, self.environ) if self._command else None
        if other:
            raise EnvironmentUnknownError(
                self._command,
                f"it runs under {other}, which may have another torch than this command",
                "install pytest-compilecache there, and use the compilecache beside it",
            )
        root = self._deployment.work / f"compilecache-{os.getuid()}"
        make_private(root)  # before anything in it is believed
        environment = detect_environment(
            users, extra=UNGUARDED, compiler_memo=root / "compiler.json"
        )
        child = self._relation is Relation.CHILD
        workspace = (choose_for_child if child else choose_for_neighbour)(
            root, environment.id, users
        )
        for _, reason in workspace.refused:
            LOGGER.warning("compile cache: neither loaded nor saved: %s", reason)
        return Site(environment, workspace)

    def _restore(self, site: Site, terms: Terms) -> CacheResult:
        if not site.workspace.areas():
            return CacheResult(OperationStatus.ERROR, usable=False)
        self.site = site  # already usable, should the store hang
        if _drop_what_torn_probes_led_to(site.workspace):
            LOGGER.warning("compile cache: %s; its entries are dropped", _TORN_PROBE)
        result = super()._restore(site, terms)
        if result.status in _WARM:
            self._known = frozenset(scan(site.workspace))
        return result

    def _work_at(self, site: Site, terms: Terms) -> None:  # noqa: ARG002  (it is another process)
        self.site = site

    def _save(self, terms: Terms, deadline: float) -> CacheResult:
        site = self.site
        if site is None:
            return CacheResult(OperationStatus.SKIPPED)
        if _drop_what_torn_probes_led_to(site.workspace):
            remedy = "it is healed; start the command again"
            found = Trouble(str(site.workspace.inductor), _TORN_PROBE, remedy)
            return CacheResult(OperationStatus.ERROR, troubles=(found,))
        if self._known is not None and _is_noise(set(scan(site.workspace)) - self._known):
            return CacheResult(OperationStatus.SKIPPED)
        return super()._save(terms, deadline)


def _report(*said: object) -> None:
    LOGGER.warning("compile cache: %s", ": ".join(map(str, said)))


def _is_noise(news: Collection[str]) -> bool:
    """Whether all that is new would be new again at the next start.

    vLLM 0.32 asks AOTAutograd under another key each time that it starts, and compiles nothing
    for it: saved, those entries would grow with the number of starts.
    """
    return bool(news) and all("/aotautograd/" in path for path in news)


def _drop_what_torn_probes_led_to(workspace: Workspace) -> bool:
    """Drop the entries of a workspace in which a probe is torn; whether there was one.

    The keys of these processes do not say which instructions torch picked, and a torn probe
    lowers them without a word.
    """
    torn = any(file.probe for file in heal(workspace).torn)
    if torn and isinstance(workspace, ForeignWorkspace):
        drop_entries(workspace)
    return torn
