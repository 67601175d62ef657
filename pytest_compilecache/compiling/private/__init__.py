"""The one place that touches private torch names, each behind a probe.

A name that is missing loses a number or a protection that is then said to be
missing; it never loses a test. Nothing here imports torch by itself: what torch
has not loaded, it has not used.
"""

from pytest_compilecache.compiling.private._caches import (
    GUARDED,
    artifact_folders,
    clear_inductor_memory,
    keep_entries_apart,
    redirect_headers,
    tag_cache_keys,
)
from pytest_compilecache.compiling.private._dynamo import (
    dynamo_setting,
    note_limits,
    recompile_limit,
    reset_dynamo,
    set_recompile_limit,
)
from pytest_compilecache.compiling.private._figures import (
    MetricsReader,
    note_bypasses,
    read_counts,
)
from pytest_compilecache.compiling.private._inductor import (
    boxed,
    compile_graph,
    control_flow_errors,
    inductor_config,
)
from pytest_compilecache.compiling.private._isa import (
    forget_isa,
    picked_isa,
    probe_isa,
)
from pytest_compilecache.compiling.private._names import (
    AUTOGRAD_CACHE,
    CODECACHE,
    CONVERT_FRAME,
    DYNAMO_UTILS,
    Undo,
    dynamo_loaded,
)
from pytest_compilecache.compiling.private._warnings import hide_gradient_warnings

__all__ = [
    "AUTOGRAD_CACHE",
    "CODECACHE",
    "CONVERT_FRAME",
    "DYNAMO_UTILS",
    "GUARDED",
    "MetricsReader",
    "Undo",
    "artifact_folders",
    "boxed",
    "clear_inductor_memory",
    "compile_graph",
    "control_flow_errors",
    "dynamo_loaded",
    "dynamo_setting",
    "forget_isa",
    "hide_gradient_warnings",
    "inductor_config",
    "keep_entries_apart",
    "note_bypasses",
    "note_limits",
    "picked_isa",
    "probe_isa",
    "read_counts",
    "recompile_limit",
    "redirect_headers",
    "reset_dynamo",
    "set_recompile_limit",
    "tag_cache_keys",
]
