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
from pytest_compilecache.compiling.private._eager import (
    base_of,
    compiles_itself,
    draws_eager_random_numbers,
    eager_random_numbers,
    mode_options,
    original_of,
    pytree_children,
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

__all__ = [
    "AUTOGRAD_CACHE",
    "CODECACHE",
    "CONVERT_FRAME",
    "DYNAMO_UTILS",
    "GUARDED",
    "MetricsReader",
    "Undo",
    "artifact_folders",
    "base_of",
    "boxed",
    "clear_inductor_memory",
    "compile_graph",
    "compiles_itself",
    "control_flow_errors",
    "draws_eager_random_numbers",
    "dynamo_loaded",
    "dynamo_setting",
    "eager_random_numbers",
    "forget_isa",
    "inductor_config",
    "keep_entries_apart",
    "mode_options",
    "note_bypasses",
    "note_limits",
    "original_of",
    "picked_isa",
    "probe_isa",
    "pytree_children",
    "read_counts",
    "recompile_limit",
    "redirect_headers",
    "reset_dynamo",
    "set_recompile_limit",
    "tag_cache_keys",
]
