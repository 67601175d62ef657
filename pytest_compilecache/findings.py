"""Everything that ``compilecache doctor`` can find, with what it means and what to do.

The reference is written from here, so a finding that is made elsewhere would be missing
there: nothing else makes a ``Diagnosis``. It looks at nothing itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found about one thing.

    Attributes:
        subject: The thing.
        level: Whether it is good, worth knowing, a risk, or broken.
        finding: What was found.
        remedy: What a person can do, or empty.
    """

    subject: str
    level: Level
    finding: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that may be found.

    Attributes:
        title: What it is called in the reference.
        level: Whether it is worth knowing, a risk, or broken.
        told: What doctor says, with facts in braces.
        remedy: What a person can do, with facts in braces, or empty.
        means: Why it matters.
    """

    title: str
    level: Level
    told: str
    remedy: str
    means: str

    def about(self, subject: str, **facts: object) -> Diagnosis:
        """The finding, of one thing."""
        told, remedy = self.told.format(**facts), self.remedy.format(**facts)
        return Diagnosis(subject, self.level, told, remedy)


def fine(subject: str, told: str) -> Diagnosis:
    """A thing that is as it should be."""
    return Diagnosis(subject, "ok", told)


TORCH_ABSENT = Finding(
    "No torch",
    "error",
    "it is not installed here",
    "install it in the same environment as this command",
    "What a store holds is kept apart by the build of torch. Without one, nothing can be loaded "
    "or saved; commands about a store alone still work.",
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
    "before 2.8, torch precompiles no headers, so that every kernel compiles longer",
    "upgrade torch, if compiling cold matters",
    "Only cold starts are slower; warm ones compile nothing.",
)
UNFINISHED_ENTRIES = Finding(
    "A torch whose processes may read unfinished entries",
    "note",
    "before 2.11, processes that share a folder may read each other's unfinished entries",
    "they are misses, not errors, where our workspaces are used",
    "Two processes that compile the same at once may both compile it.",
)
COMPILER_BROKEN = Finding(
    "A C++ compiler that is missing or broken",
    "error",
    "{reason}",
    "",
    "Every graph for the CPU needs one. Without it, tests run eager, with one warning. What "
    "doctor says names the way out: install g++, name another in CXX, or free some space.",
)
PROCESSOR_PINNED = Finding(
    "A pinned processor capability",
    "note",
    "{processor}; ATEN_CPU_CAPABILITY {pinned}",
    "",
    "The variable lowers the instructions that torch uses, and is part of the environment: "
    "machines on which it differs share nothing.",
)
SWITCHED_OFF = Finding(
    "A variable that switches something off",
    "warning",
    "{effect}",
    "unset it, if that is not meant",
    "TORCH_COMPILE_DISABLE, TORCHDYNAMO_DISABLE, TORCHINDUCTOR_FORCE_DISABLE_CACHES, "
    "TORCHINDUCTOR_FX_GRAPH_CACHE or TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS is set so that "
    "nothing is compiled, nothing is kept, or compiling takes longer.",
)
UNREADABLE_FOLDER = Finding(
    "A folder that cannot be looked at",
    "error",
    "it cannot be looked at: {reason}",
    "",
    "A mount whose server has gone, mostly, or a folder above that this user may not enter.",
)
NOT_WRITABLE = Finding(
    "A folder that cannot be written to",
    "error",
    "{folder} cannot be written to",
    "choose another place",
    "Torch and the plugin work in that folder. Where they cannot, every session is cold.",
)
FOREIGN_OWNER = Finding(
    "A folder of another user",
    "error",
    "it belongs to user {owner}, who could plant machine code there",
    "choose a folder of your own",
    "Torch runs what it finds there. The plugin refuses such a folder.",
)
REPLACEABLE = Finding(
    "A folder that everybody can replace",
    "error",
    "everybody can replace what lies in {folder}",
    "chmod +t, or choose another place",
    "Another user could put a folder of his own in its place. The plugin refuses it.",
)
NOEXEC = Finding(
    "A noexec mount",
    "error",
    "it is mounted noexec: compiled kernels cannot be loaded from it",
    "choose another place, or mount it with exec",
    "The compiler works, and then every kernel fails to load.",
)
READ_ONLY = Finding(
    "A read-only mount",
    "error",
    "it is mounted read-only",
    "choose another place",
    "Nothing can be compiled or restored there.",
)
LITTLE_SPACE = Finding(
    "Little space",
    "warning",
    "only {megabytes:.0f} MB are free",
    "free some space",
    "A precompiled header alone takes more than 100 MB. A compiler on a full disk leaves torn "
    "files; they are healed, but what they were for runs eager or is compiled again.",
)
FEW_INODES = Finding(
    "Few inodes",
    "warning",
    "only {inodes} inodes are free",
    "delete small files",
    "A cache consists of many small files. The disk is full for it although bytes are free.",
)
NETWORK_FOLDER = Finding(
    "A workspace on a network file system",
    "note",
    "it lies on a network file system ({kind}): nothing is evicted there",
    "a local folder is faster and safer",
    "Kernel locks may hold on one machine only there, so no one can tell whether a session "
    "elsewhere still uses the folder.",
)
STORE_UNUSABLE = Finding(
    "A store that cannot be used",
    "error",
    "{reason}",
    "{remedy}",
    "Its place cannot be read as a store. Sessions are cold, pass all the same, and warn.",
)
STORE_PARTLY_HIDDEN = Finding(
    "An environment of the store that cannot be listed",
    "warning",
    "{key} cannot be listed: {reason}",
    "{remedy}",
    "Machines of that environment are cold, and nothing of it is pruned; the others are served.",
)
NO_STORE_YET = Finding(
    "No store yet",
    "note",
    "it does not exist yet",
    "the first save makes it",
    "Nothing was saved here before. If something was, the place is misspelled or not mounted.",
)
NO_STORE_POSSIBLE = Finding(
    "A store that cannot be made",
    "error",
    "it does not exist yet, and {folder} cannot be written to",
    "choose another place, or have the folder made for you",
    "No session of this user will ever save there.",
)
SLOW_STORE = Finding(
    "A slow store",
    "warning",
    "listing its {count} objects took {seconds:.1f} s",
    "prune it, or move it nearer",
    "Every session lists its environment's packs at the start.",
)
STORE_IS_READ = Finding(
    "A store that is only read",
    "note",
    "{count} objects; it is only read here",
    "",
    "This user may not write to it. That is right for builds of strangers' code, and a mistake "
    "in the builds that should save.",
)
STORE_BY_LEASES = Finding(
    "A store on a network file system",
    "note",
    "on a network file system ({kind}): savers take turns by leases, not by locks",
    "",
    "All holds there as well. A saver that dies keeps its turn until its lease runs out.",
)
STORE_NOT_WRITTEN = Finding(
    "A store that refuses writes",
    "error",
    "it cannot be written: {reason}",
    "",
    "The permissions allow writing, and it fails nevertheless: a full disk, a quota, or a mount "
    "that lost its server.",
)
CLOCKS_DIFFER = Finding(
    "Clocks that differ",
    "warning",
    "its clock is {ahead:+.0f} s from this machine's",
    "synchronise the clocks; ages go by the store's",
    "Ages decide what expires. A saver whose clock is an hour or more off does not prune.",
)
WRONG_CLOCK = Finding(
    "A wrong clock",
    "error",
    "this machine's clock is wrong: {date}",
    "set it; what it saves would be deleted as too old",
    "It says a time before this package existed.",
)
FEW_DESCRIPTORS = Finding(
    "Few open files",
    "warning",
    "only {count} files may be open at once",
    "ulimit -n 4096",
    "Torch compiles in several processes at once, and each keeps files open.",
)
TORCH_DUMB = Finding(
    "A torch that cannot be asked",
    "error",
    "torch cannot be asked: {reason}",
    "",
    "Importing torch, or asking it for the vector instructions that it picks, failed or took "
    "more than two minutes. Nothing compiles where this fails.",
)
TORCH_SILENT = Finding(
    "A torch that does not tell its vector instructions",
    "note",
    "this torch does not tell; other processors' code is kept apart by the environment",
    "",
    "It is not known whether torch picked what the processor has.",
)
LOST_INSTRUCTIONS = Finding(
    "Lost vector instructions",
    "warning",
    "torch picks {picked}; probes of {lost} do not work",
    "a torn probe in the cache, or a compiler that is older than the processor",
    "Torch builds a small library to see which instructions work. When that fails it picks lower "
    "ones without a word, and plain torch may then hit what was compiled for higher ones and "
    "compute wrong numbers. In test sessions the choice is part of the keys, and torn probes are "
    "healed.",
)

FINDINGS = tuple(each for each in tuple(globals().values()) if isinstance(each, Finding))
"""All of them, so that none can be left out of the reference."""
