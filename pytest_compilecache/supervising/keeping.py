"""One command's cache: found, loaded, saved. It never raises, and logs what it does.

A command without our protection has an environment of its own: what it leaves is never
found by protected processes, nor the reverse.
"""

from __future__ import annotations

import enum
import os
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from pytest_compilecache.cache import (
    CacheResult,
    OperationStatus,
    Trouble,
    restore,
    save,
    trouble,
)
from pytest_compilecache.cache.log import LOGGER, log_evicted, log_result
from pytest_compilecache.deployment import Deployment
from pytest_compilecache.environment import Environment, detect_environment
from pytest_compilecache.errors import EnvironmentUnknownError
from pytest_compilecache.places import make_private
from pytest_compilecache.settings import SavePolicy
from pytest_compilecache.supervising.interpreters import foreign_python
from pytest_compilecache.trust import judge_build
from pytest_compilecache.variables import Variables, users_environ
from pytest_compilecache.workspace.evict import evict
from pytest_compilecache.workspace.foreign import (
    INDUCTOR,
    VLLM,
    ForeignWorkspace,
    choose_for_child,
    choose_for_neighbour,
    drop_entries,
)
from pytest_compilecache.workspace.heal import heal
from pytest_compilecache.workspace.scan import scan
from pytest_compilecache.workspace.sharing import SharedWorkspace, restoring_turn

UNGUARDED = {"cache_keys": "torch's own"}

_DYNAMIC_THREADS = "TORCHINDUCTOR_CPP_DYNAMIC_THREADS"
_TORN_PROBE = (
    "a library by which torch probes vector instructions was torn, so what was compiled here "
    "may be for lower ones"
)

_WARM = frozenset({OperationStatus.SUCCESS, OperationStatus.SKIPPED})


class Relation(enum.Enum):
    """How we stand to the command: whether we set its variables."""

    CHILD = "child"
    NEIGHBOUR = "neighbour"


@dataclass(frozen=True, slots=True)
class Site:
    """Where a command works.

    Attributes:
        environment: What decides whether artifacts may be used by it.
        workspace: The folders that it reads and writes.
    """

    environment: Environment
    workspace: ForeignWorkspace


class Keeper:
    """Loads and saves what a command compiles.

    Args:
        deployment: The store, the place for work, the limits.
        relation: How we stand to the command.
        policy: Whether to save.
        command: The command, where it is ours.
        environ: The variables that it would have without us.
    """

    def __init__(
        self,
        deployment: Deployment,
        relation: Relation,
        policy: SavePolicy = "auto",
        command: str = "",
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._deployment = deployment
        self._relation = relation
        self._command = command
        self._environ = dict(os.environ if environ is None else environ)
        self._users = users_environ(self._environ)
        self._use: SharedWorkspace | None = None
        self._known: frozenset[str] | None = None
        self.unsaved = _why_unsaved(policy, self._users)
        self._loading = False
        self.site: Site | None = None

    def load(self) -> CacheResult:
        """Bring what the store has; afterwards ``site`` says where, unless nothing can be used."""
        self._loading = True
        try:
            return self._told("load", self._load)
        finally:
            self._loading = False

    def save(self) -> CacheResult:
        """Add what is new to the store."""
        return self._told("save", self._save)

    def save_at_end(self) -> CacheResult:
        """Add what is new to the store, and bring the caches of a command that ended to its limit.

        Never those of a neighbour: it lives on, and holds no lock.
        """
        result = self.save()
        if self._relation is Relation.CHILD and self.site and self._use and not self._loading:
            self._use.release()
            log_evicted(evict(self.site.workspace, self._deployment.limits))
        return result

    def child_environ(self) -> dict[str, str]:
        """The variables for the command."""
        environ = dict(self._environ)
        if self.site is None:
            return environ
        variables = Variables(environ)
        workspace = self.site.workspace
        if self._users.get(INDUCTOR, "") != str(workspace.inductor):
            # What the user set and we must change is not marked as ours: a process of ours
            # below the command would take it away, and find the user's again nowhere.
            set_it = variables.put if self._users.get(INDUCTOR) else variables.set
            set_it(INDUCTOR, str(workspace.inductor))
        for name, value in ((VLLM, str(workspace.vllm)), (_DYNAMIC_THREADS, "1")):
            if not self._users.get(name):
                variables.set(name, value)
        return environ

    def _told(self, call: str, function: Callable[[], CacheResult]) -> CacheResult:
        started = time.perf_counter()
        try:
            result = function()
        except Exception as error:  # noqa: BLE001  (the cache is never worth a server)
            found = trouble(self._deployment.work, error)
            result = CacheResult(OperationStatus.ERROR, troubles=(found,), usable=False)
        result = replace(result, seconds=time.perf_counter() - started)
        return log_result(call, self._deployment.store, result)

    def _load(self) -> CacheResult:
        site = self._locate()
        for _, reason in site.workspace.refused:
            LOGGER.warning("compile cache: neither loaded nor saved: %s", reason)
        if not site.workspace.areas():
            return CacheResult(OperationStatus.ERROR, usable=False)
        # As long as we live: eviction would take kernels from under the command.
        self._use = SharedWorkspace(site.workspace, site.environment.id)
        if not self._use.acquire():
            LOGGER.info("compile cache: not protected from eviction: %s", self._use.reason)
        self.site = site  # already usable, should the store hang
        with restoring_turn(site.workspace, self._deployment.limits.lock_seconds):
            if _drop_what_torn_probes_led_to(site.workspace):
                LOGGER.warning("compile cache: %s; its entries are dropped", _TORN_PROBE)
            result = restore(
                site.workspace,
                site.environment,
                self._deployment.store,
                self._deployment.limits,
                read_only=bool(self.unsaved),
            )
        if not result.usable:
            self.site = None
        elif result.status in _WARM:
            self._known = frozenset(scan(site.workspace))
        return result

    def _save(self) -> CacheResult:
        site = self.site
        if site is None:
            return CacheResult(OperationStatus.SKIPPED)
        if _drop_what_torn_probes_led_to(site.workspace):
            remedy = "it is healed; start the command again"
            found = Trouble(str(site.workspace.inductor), _TORN_PROBE, remedy)
            return CacheResult(OperationStatus.ERROR, troubles=(found,))
        if self._known is not None and _is_noise(set(scan(site.workspace)) - self._known):
            return CacheResult(OperationStatus.SKIPPED)
        return save(
            site.workspace, site.environment, self._deployment.store, self._deployment.limits
        )

    def _locate(self) -> Site:
        """Find out the environment and the folders, the same for every command like this one.

        Raises:
            CompileCacheError: The environment cannot be told, or there is no place to trust.
            OSError: The same.
        """
        other = foreign_python(self._command, self._environ) if self._command else None
        if other:
            raise EnvironmentUnknownError(
                self._command,
                f"it runs under {other}, which may have another torch than this command",
                "install pytest-compilecache there, and use the compilecache beside it",
            )
        root = self._deployment.work / f"compilecache-{os.getuid()}"
        make_private(root)  # before anything in it is believed
        environment = detect_environment(
            self._users, extra=UNGUARDED, compiler_memo=root / "compiler.json"
        )
        child = self._relation is Relation.CHILD
        choose = choose_for_child if child else choose_for_neighbour
        workspace = choose(root, environment.id, self._users)
        workspace.prepare(environment.id)
        if workspace.note:
            LOGGER.info("compile cache: %s", workspace.note)
        return Site(environment, workspace)


def _why_unsaved(policy: SavePolicy, users: Mapping[str, str]) -> str:
    if policy == "auto":
        trust = judge_build(users, option="--save")
        return "" if trust.may_save else trust.reason
    return "" if policy == "always" else "--save=never"


def _is_noise(news: Collection[str]) -> bool:
    """Whether all that is new would be new again at the next start.

    vLLM 0.32 asks AOTAutograd under another key each time that it starts, and compiles nothing
    for it: saved, those entries would grow with the number of starts.
    """
    return bool(news) and all("/aotautograd/" in path for path in news)


def _drop_what_torn_probes_led_to(workspace: ForeignWorkspace) -> bool:
    """Drop the entries of a workspace in which a probe is torn; whether there was one.

    The keys of these processes do not say which instructions torch picked, and a torn probe
    lowers them without a word.
    """
    torn = any(file.probe for file in heal(workspace).torn)
    if torn:
        drop_entries(workspace)
    return torn
