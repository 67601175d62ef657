"""Checks of what compiles: torch, the C++ compiler, the processor, the variables."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping

from pytest_compilecache.compiling.toolchain import Toolchain
from pytest_compilecache.doctor.findings import Diagnosis, Finding, fine
from pytest_compilecache.environment import UNSET, Environment

_LEAST_TORCH = (2, 7)
_TORCH_SECONDS = 120.0
_INSTRUCTIONS = "vector instructions"

TORCH_ABSENT = Finding(
    "No torch",
    "error",
    "it is not installed here",
    "install it in the same Python environment as this command",
    "What a store holds is kept apart by the build of torch. Without torch, nothing can be loaded "
    "or saved. Commands about a store alone still work.",
)
TORCH_TOO_OLD = Finding(
    "A torch that is too old",
    "error",
    "{version} is not supported",
    "install 2.7 or later",
    "The plugin watches parts of torch that older versions do not have.",
)
SLOW_HEADERS = Finding(
    "A torch without precompiled headers",
    "note",
    "before 2.8, torch precompiles no headers, so every kernel compiles longer",
    "upgrade torch if compiling cold matters",
    "Only cold starts are slower. Warm ones compile nothing.",
)
UNFINISHED_ENTRIES = Finding(
    "A torch whose processes may read unfinished entries",
    "note",
    "before 2.11, processes that share a folder may read each other's unfinished entries",
    "they are misses, not errors, where our workspaces are used",
    "Two processes that compile the same graph at the same time may both compile it.",
)
COMPILER_BROKEN = Finding(
    "A C++ compiler that is missing or broken",
    "error",
    "{reason}",
    "",
    "Every graph for the CPU needs a compiler. The message of doctor names the remedy: install "
    "g++, name another compiler in CXX, or free some space.",
)
PROCESSOR_PINNED = Finding(
    "A pinned processor capability",
    "note",
    "{processor}; ATEN_CPU_CAPABILITY {pinned}",
    "",
    "The variable lowers the instructions that torch uses, and is part of the environment: "
    "machines with different values share nothing.",
)
SWITCHED_OFF = Finding(
    "A variable that switches something off",
    "warning",
    "{effect}",
    "unset it, unless you want that",
    "TORCH_COMPILE_DISABLE, TORCHDYNAMO_DISABLE, TORCHINDUCTOR_FORCE_DISABLE_CACHES, "
    "TORCHINDUCTOR_FX_GRAPH_CACHE or TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS is set so that "
    "nothing is compiled, nothing is kept, or compiling takes longer.",
)
TORCH_FAILS = Finding(
    "A torch that does not answer",
    "error",
    "torch cannot be asked: {reason}",
    "",
    "Importing torch, or asking it which vector instructions it picks, failed or took more than "
    "two minutes. Nothing compiles where this fails.",
)
INSTRUCTIONS_UNKNOWN = Finding(
    "A torch that does not say which vector instructions it picks",
    "note",
    "this torch does not say; code for other processors is kept apart by the environment",
    "",
    "It is not known whether torch picked what the processor has.",
)
LOST_INSTRUCTIONS = Finding(
    "Lost vector instructions",
    "warning",
    "torch picks {picked}; probes of {lost} do not work",
    "a probe library in the cache is torn, or the compiler is older than the processor",
    "Torch builds a small library to see which instructions work. When that fails it picks lower "
    "ones without a message. Plain torch may then use code that was compiled for higher ones and "
    "compute wrong numbers. In test sessions the choice is part of the keys, and torn probes are "
    "healed.",
)
FINDINGS = tuple(each for each in tuple(globals().values()) if isinstance(each, Finding))

# Defects of versions before those, by torch's own changes.
_KNOWN_BUGS = (((2, 8), SLOW_HEADERS), ((2, 11), UNFINISHED_ENTRIES))
_SWITCHES = (
    ("TORCH_COMPILE_DISABLE", "1", "torch.compile does nothing"),
    ("TORCHDYNAMO_DISABLE", "1", "torch.compile does nothing"),
    ("TORCHINDUCTOR_FORCE_DISABLE_CACHES", "1", "Inductor uses no cache at all"),
    ("TORCHINDUCTOR_FX_GRAPH_CACHE", "0", "compiled graphs are not kept"),
    ("TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS", "0", "headers are not precompiled"),
)


def check_torch(environment: Environment) -> Iterator[Diagnosis]:
    """The version of torch, and what is known of it."""
    found = environment.fields.get("torch", "absent")
    if found == "absent":
        yield TORCH_ABSENT.about("torch")
        return
    version = _version(found)
    if version < _LEAST_TORCH:
        yield TORCH_TOO_OLD.about("torch", version=found)
    else:
        yield fine("torch", found)
    for before, finding in _KNOWN_BUGS:
        if version < before:
            yield finding.about("torch")


def _version(text: str) -> tuple[int, ...]:
    numbers = []
    for part in text.split("+", maxsplit=1)[0].split(".")[:2]:
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)


def check_compiler(environment: Environment) -> Iterator[Diagnosis]:
    """Whether the C++ compiler compiles an empty program."""
    broken = Toolchain().check()
    if broken:
        yield COMPILER_BROKEN.about("C++ compiler", reason=broken)
    else:
        yield fine("C++ compiler", environment.fields.get("cxx", "unknown"))


def check_processor(environment: Environment) -> Iterator[Diagnosis]:
    """The processor, and whether a variable makes torch use less of it."""
    pinned = environment.fields.get("aten_cpu_capability", UNSET)
    processor = environment.fields.get("cpu", "unknown")
    if pinned == UNSET:
        yield fine("processor", f"{processor}; ATEN_CPU_CAPABILITY {pinned}")
    else:
        yield PROCESSOR_PINNED.about("processor", processor=processor, pinned=pinned)


def check_variables(environ: Mapping[str, str]) -> Iterator[Diagnosis]:
    """Torch's variables that make a cache useless."""
    for name, value, effect in _SWITCHES:
        if environ.get(name) == value:
            yield SWITCHED_OFF.about(f"{name}={value}", effect=effect)


def check_vector_instructions() -> Iterator[Diagnosis]:
    """What torch picks, asked in another process: it compiles and loads probes for it."""
    command = [sys.executable, "-m", "pytest_compilecache.doctor.ask_torch"]
    try:
        code, out, err = _run(command, _TORCH_SECONDS)
        if code:
            last = (err.strip().splitlines() or [f"it ended with {code}"])[-1]
            yield TORCH_FAILS.about(_INSTRUCTIONS, reason=last)
            return
        probe = json.loads(out.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        yield TORCH_FAILS.about(_INSTRUCTIONS, reason=error)
        return
    if probe is None:
        yield INSTRUCTIONS_UNKNOWN.about(_INSTRUCTIONS)
    elif probe["failed"]:
        lost = ", ".join(probe["failed"])
        yield LOST_INSTRUCTIONS.about(_INSTRUCTIONS, picked=probe["picked"], lost=lost)
    else:
        yield fine(_INSTRUCTIONS, f"torch picks {probe['picked']}")


def _run(command: list[str], seconds: float) -> tuple[int, str, str]:
    """Run a command, and after so many seconds kill it with all the compilers that it started."""
    with subprocess.Popen(  # noqa: S603  (this interpreter, a module of ours)
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=seconds)
        except BaseException:  # Ctrl-C as well: in a session of its own it does not hear of it
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return process.returncode, out, err
