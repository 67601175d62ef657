"""Everything that decides whether an artifact made in one place may be used in another.

It never imports torch or Triton, reads no setting of ours, and separates where it
cannot tell: sharing wrongly computes wrong numbers, separating wrongly compiles again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from pytest_compilecache._host import Host
from pytest_compilecache._processor import is_pinned, processor_fields, vector_label
from pytest_compilecache._torch_build import inductor_reads, torch_fields, triton_version
from pytest_compilecache.errors import EnvironmentUnknownError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["Environment", "FieldDifference", "Host", "detect_environment", "nearest"]

UNSET: Final = "unset"
NOT_RECORDED: Final = "not recorded"

_FORMAT = 1
_DIGEST_LENGTH = 16
_MAX_LABEL_LENGTH = 80
_MAX_FIELDS = 128
_MAX_VALUE_LENGTH = 4096
_MAX_JSON_LENGTH = 1024 * 1024  # that many fields of that length, and their names
_FIELD_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class FieldDifference:
    """One field in which two environments differ.

    Attributes:
        field: The field's name.
        here: Its value in the environment that asked.
        there: Its value in the other one.
    """

    field: str
    here: str
    there: str

    def __str__(self) -> str:
        if self.field != "cpu_flags":
            return f"{self.field}: {self.here} here, {self.there} there"
        here, there = set(self.here.split()), set(self.there.split())
        only_here, only_there = sorted(here - there), sorted(there - here)
        return (
            f"{self.field}: {' '.join(only_here) or 'nothing'} only here, "
            f"{' '.join(only_there) or 'nothing'} only there"
        )


@dataclass(frozen=True, slots=True)
class Environment:
    """What an artifact depends on: equal fields mean that artifacts may be shared.

    Attributes:
        fields: Readable names with readable values; it cannot be changed.
    """

    fields: Mapping[str, str]

    def __post_init__(self) -> None:
        ordered = MappingProxyType(dict(sorted(self.fields.items())))
        object.__setattr__(self, "fields", ordered)

    def __hash__(self) -> int:
        return hash(tuple(self.fields.items()))

    def __reduce__(self) -> tuple[type[Environment], tuple[dict[str, str]]]:
        return Environment, (dict(self.fields),)  # a mapping proxy cannot be pickled

    @property
    def id(self) -> str:
        """A readable label and a digest, safe as the name of a folder and in a bucket's key."""
        canonical = json.dumps(dict(self.fields), sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(canonical.encode("ascii")).hexdigest()
        return f"{_label(self.fields)}-{digest[:_DIGEST_LENGTH]}"

    def to_json(self) -> str:
        """Writes the environment for a person to read and for `from_json`."""
        document = {"format": _FORMAT, "id": self.id, "fields": dict(self.fields)}
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Environment:
        """Reads what `to_json` wrote.

        Raises:
            EnvironmentUnknownError: The text is torn, altered, or too large.
        """
        if len(text) > _MAX_JSON_LENGTH:
            raise _unreadable(f"it is longer than {_MAX_JSON_LENGTH} characters")
        try:
            document = json.loads(text, object_pairs_hook=_without_repetition)
        except (ValueError, RecursionError) as error:
            raise _unreadable("it is not JSON of ours") from error
        match document:
            case {"format": 1, "id": str(recorded), "fields": dict(fields), **rest} if not rest:
                environment = cls(_checked(fields))
            case _:
                raise _unreadable("it is not a description of this format")
        if environment.id != recorded:
            raise _unreadable("its id does not belong to its fields")
        return environment

    def differences(self, other: Environment) -> tuple[FieldDifference, ...]:
        """Lists the fields in which another environment differs, by name."""
        pairs = (
            FieldDifference(
                name, self.fields.get(name, NOT_RECORDED), other.fields.get(name, NOT_RECORDED)
            )
            for name in sorted({*self.fields, *other.fields})
        )
        return tuple(pair for pair in pairs if pair.here != pair.there)


def nearest(environment: Environment, candidates: Iterable[Environment]) -> Environment | None:
    """Finds the candidate that differs in the fewest fields; of equals, the first by id."""
    return min(
        candidates,
        key=lambda candidate: (len(environment.differences(candidate)), candidate.id),
        default=None,
    )


def detect_environment(
    environ: Mapping[str, str] | None = None,
    *,
    host: Host | None = None,
    extra: Mapping[str, str] | None = None,
    compiler_memo: Path | None = None,
) -> Environment:
    """Finds out in which environment this process would compile.

    GPUs are not asked: torch's own keys hold the device, and asking costs seconds.
    Neither is ``cpp.simdlen``, which has no variable and is in torch's keys as well.

    Args:
        environ: The variables to go by, in place of this process's own.
        host: The machine to ask, in place of this one.
        extra: Fields of the user's own; their names may not be ours.
        compiler_memo: A file that remembers what compilers answered. It belongs
            in a private folder, because what it says is believed.

    Raises:
        SettingsError: A field in `extra` has a name or a value that cannot be used.
    """
    environ = os.environ if environ is None else environ
    host = host or Host()
    hostname = host.hostname()
    torch = host.package_folder("torch")
    fields = {
        **torch_fields(torch, hostname=hostname),
        "triton": triton_version(host.package_folder("triton"), hostname=hostname),
        "python": host.python_version(),
        "python_implementation": host.python_implementation(),
        "python_abi": host.python_abi(),
        "os": host.operating_system(),
        "machine": host.machine(),
        "libc": host.libc(),
        **processor_fields(host.processor(), machine=host.machine(), hostname=hostname),
        "cxx": host.compiler(environ, compiler_memo),
        **_setting_fields(environ),
    }
    if _is_portable(fields, torch):
        fields |= {"cpu": "any", "cpu_flags": f"those of {fields['inductor_cpp_march']}"}
    fields = {name: _recordable(value) for name, value in fields.items()}
    return Environment({**fields, **_checked_extra(extra or {}, ours=fields)})


def _setting_fields(environ: Mapping[str, str]) -> dict[str, str]:
    # As torch reads them: an empty capability is none, an empty -march drops
    # the flag, and a switch that is neither 0 nor 1 is not set.
    march = environ.get("TORCHINDUCTOR_CPP_MARCH", UNSET)
    forced = environ.get("TORCHINDUCTOR_VEC_ISA_OK")
    headers = environ.get("TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS", "1")
    return {
        "aten_cpu_capability": environ.get("ATEN_CPU_CAPABILITY") or UNSET,
        "inductor_cpp_march": march or "(empty)",
        "inductor_vec_isa_ok": {"0": "no", "1": "yes"}.get(forced or "", UNSET),
        "precompiled_headers": "on" if headers == "1" else "off",
    }


def _is_portable(fields: Mapping[str, str], torch: Path | None) -> bool:
    # A torch that does not know the variable goes on with -march=native.
    return is_pinned(
        fields["aten_cpu_capability"], fields["inductor_cpp_march"], fields["cpu_flags"]
    ) and inductor_reads(torch, "TORCHINDUCTOR_CPP_MARCH")


def _label(fields: Mapping[str, str]) -> str:
    implementation = fields.get("python_implementation", "python").replace("cpython", "cp")
    language = "".join(fields.get("python", "").split(".")[:2])
    vector = fields.get("aten_cpu_capability", UNSET)
    if vector == UNSET:
        vector = vector_label(fields.get("cpu_flags", ""))
    words = (
        f"torch{fields.get('torch', '')}",
        implementation + language,
        fields.get("os", ""),
        fields.get("machine", ""),
        vector,
    )
    safe = re.sub(r"[^a-z0-9._]+", "-", "-".join(words).lower())
    return safe[:_MAX_LABEL_LENGTH].strip("-.")


def _recordable(value: str) -> str:
    """Makes any answer of a machine fit for one line of a terminal, and keeps it distinct."""
    if not value.isprintable():
        value = ascii(value)
    if len(value) <= _MAX_VALUE_LENGTH:
        return value
    digest = hashlib.sha256(value.encode()).hexdigest()
    return f"{value[: _MAX_VALUE_LENGTH // 2]}... sha256 {digest}"


def _is_recordable(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _MAX_VALUE_LENGTH and value.isprintable()


def _checked_extra(extra: Mapping[str, str], *, ours: Mapping[str, str]) -> Mapping[str, str]:
    for name, value in extra.items():
        if not isinstance(name, str) or not _FIELD_NAME.fullmatch(name):
            raise SettingsError(
                f"environment field {name!r}",
                "this is not a name",
                "use small letters, digits, '_', '.' and '-', a letter first, 64 at most",
            )
        if name in ours:
            raise SettingsError(
                f"environment field {name!r}", "it is found out already", "choose another name"
            )
        if not _is_recordable(value):
            raise SettingsError(
                f"environment field {name!r}",
                "its value is not one line of text",
                f"use a printable string of at most {_MAX_VALUE_LENGTH} characters",
            )
    if len(ours) + len(extra) > _MAX_FIELDS:
        raise SettingsError(
            "environment fields", "there are too many", f"{_MAX_FIELDS} at most, ours included"
        )
    return extra


def _checked(fields: dict[str, object]) -> dict[str, str]:
    if len(fields) > _MAX_FIELDS:
        raise _unreadable(f"it has more than {_MAX_FIELDS} fields")
    checked = {
        name: value
        for name, value in fields.items()
        if _FIELD_NAME.fullmatch(name) and isinstance(value, str) and _is_recordable(value)
    }
    if len(checked) < len(fields):
        raise _unreadable("a field's name or value is not one line of text")
    return checked


def _without_repetition(pairs: list[tuple[str, object]]) -> dict[str, object]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        raise ValueError("a name stands twice")
    return unique


def _unreadable(reason: str) -> EnvironmentUnknownError:
    return EnvironmentUnknownError(
        "environment description", reason, "nothing of that environment is used"
    )
