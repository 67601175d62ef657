"""Every error and warning that this package raises. It imports nothing of the package."""

from __future__ import annotations


class CompileCacheError(Exception):
    """Something that the compile cache could not do.

    Attributes:
        subject: The thing that is wrong: a path, a setting, a pack.
        reason: What is wrong with it.
        remedy: What a person can do about it.
    """

    def __init__(self, subject: object, reason: str, remedy: str = "") -> None:
        # Not super(): OSError would take the three for errno, text and file name.
        Exception.__init__(self, str(subject), reason, remedy)
        self.subject = str(subject)
        self.reason = reason
        self.remedy = remedy

    def __str__(self) -> str:
        sentence = f"{self.subject}: {self.reason}"
        return f"{sentence} ({self.remedy})" if self.remedy else sentence

    def __reduce__(self) -> tuple[type[CompileCacheError], tuple[str, str, str]]:
        # OSError keeps its first two arguments as errno and text, and would
        # rebuild a subclass from those alone when the error crosses processes.
        return type(self), (self.subject, self.reason, self.remedy)


class SettingsError(CompileCacheError, ValueError):
    """A setting has a value that cannot be used."""


class EnvironmentUnknownError(CompileCacheError, RuntimeError):
    """The environment could not be told, so nothing made elsewhere may be used."""


class PackError(CompileCacheError, ValueError):
    """A pack is torn, hostile, or not one of ours."""


class StoreError(CompileCacheError, OSError):
    """A store cannot be reached, read or written."""


class WorkspaceError(CompileCacheError, OSError):
    """A workspace cannot be used: its place, its owner or its mode is wrong."""


class ReportError(CompileCacheError, ValueError):
    """A file is no report of a session."""


class NotComparableError(CompileCacheError, TypeError):
    """What a model takes, keeps or gives cannot be compared between two runs."""


class MissingExtraError(CompileCacheError, ImportError):
    """A package is not installed that one of our extras brings."""


class DisagreementError(CompileCacheError, AssertionError):
    """Compiled code computes something else than eager code.

    Attributes:
        subject: The path of the first value that differs, such as ``output['logits'][0]``.
        reason: How it differs, on several lines.
        remedy: What to look at next.
    """

    def __str__(self) -> str:
        return f"{self.subject}: {self.reason}\n{self.remedy}"


class CompileCacheWarning(UserWarning):
    """The cache met trouble that costs time, and nothing else."""


class CompileFallbackWarning(UserWarning):
    """Something did not compile and ran eager."""


class CompileFallbackError(CompileCacheError, RuntimeError):
    """Something did not compile, and running it eager was forbidden."""


class CompileOptionError(CompileCacheError, ValueError):
    """An option of compiling has a value that cannot be used, or contradicts another."""


class MissingPackageError(CompileCacheError, ImportError):
    """A package that is optional is needed for what was asked."""


class CompileOptionWarning(UserWarning):
    """An option of compiling has no effect, or another than it seems."""


class CompileOptionDeprecationWarning(CompileOptionWarning, DeprecationWarning):
    """An option of compiling is written in a form that its tool calls deprecated."""
