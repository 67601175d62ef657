"""The live directories that torch reads and writes: their place, their files, their health.

It never removes what another process may be using, and moves aside only what is provably torn.
"""

from pytest_compilecache.workspace.heal import Healed, TornFile, heal
from pytest_compilecache.workspace.ledger import Ledger
from pytest_compilecache.workspace.place import Workspace, choose_workspace, default_root
from pytest_compilecache.workspace.scan import WorkspaceFile, scan

__all__ = [
    "Healed",
    "TornFile",
    "Ledger",
    "Workspace",
    "WorkspaceFile",
    "choose_workspace",
    "default_root",
    "heal",
    "scan",
]
