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
from pytest_compilecache.compiling.private._compilers import (
    bound_compilers,
    compiler_output,
    cpp_compiler,
    is_compiler_failure,
)
from pytest_compilecache.compiling.private._dynamo import (
    current_stance,
    dynamo_setting,
    force_eager,
    note_disabled,
    note_limits,
    note_stances,
    recompile_limit,
    reset_dynamo,
    set_recompile_limit,
    turned_off_by,
)
from pytest_compilecache.compiling.private._figures import (
    GraphBreakReader,
    MetricsReader,
    note_bypasses,
    read_counts,
)
from pytest_compilecache.compiling.private._frames import (
    FrameWatcher,
    count_compiled_frames,
    forget_code,
    frame_place,
    is_backend_failure,
    is_observed,
    is_recompile_limit,
    is_soft,
    users_place,
    watch_frames,
)
from pytest_compilecache.compiling.private._inductor import (
    Guard,
    boxed,
    compile_graph,
    control_flow_errors,
    guard_plain_compiles,
    inductor_config,
    lookup_backend,
    reset_backend,
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
    CPP_BUILDER,
    DECORATORS,
    DYNAMO_UTILS,
    EVAL_FRAME,
    Undo,
    dynamo_loaded,
)

__all__ = [
    "AUTOGRAD_CACHE",
    "CODECACHE",
    "CONVERT_FRAME",
    "CPP_BUILDER",
    "DECORATORS",
    "DYNAMO_UTILS",
    "EVAL_FRAME",
    "GUARDED",
    "FrameWatcher",
    "GraphBreakReader",
    "Guard",
    "MetricsReader",
    "Undo",
    "artifact_folders",
    "bound_compilers",
    "boxed",
    "clear_inductor_memory",
    "compile_graph",
    "compiler_output",
    "control_flow_errors",
    "count_compiled_frames",
    "cpp_compiler",
    "current_stance",
    "dynamo_loaded",
    "dynamo_setting",
    "force_eager",
    "forget_code",
    "forget_isa",
    "frame_place",
    "guard_plain_compiles",
    "inductor_config",
    "is_backend_failure",
    "is_compiler_failure",
    "is_observed",
    "is_recompile_limit",
    "is_soft",
    "keep_entries_apart",
    "lookup_backend",
    "note_bypasses",
    "note_disabled",
    "note_limits",
    "note_stances",
    "picked_isa",
    "probe_isa",
    "read_counts",
    "recompile_limit",
    "redirect_headers",
    "reset_backend",
    "reset_dynamo",
    "set_recompile_limit",
    "tag_cache_keys",
    "turned_off_by",
    "users_place",
    "watch_frames",
]
