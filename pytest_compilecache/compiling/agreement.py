"""Asserts that a compiled model computes what eager computes, gradients and state included."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from pytest_compilecache.compiling.comparing import Difference, Tolerance, differences
from pytest_compilecache.compiling.copying import Arguments
from pytest_compilecache.compiling.options import CompileOptions
from pytest_compilecache.compiling.precision import nearer_to_float64
from pytest_compilecache.compiling.running import Call, Generators, Run, seed_generators
from pytest_compilecache.compiling.state import roots_of, save_state
from pytest_compilecache.errors import DisagreementError, NotComparableError
from pytest_compilecache.torchhooks import compiled as compiled_objects
from pytest_compilecache.torchhooks import stances

_NAMED = 4
_LOOK = "look at what was compiled with TORCH_COMPILE_DEBUG=1; rtol= and atol= allow more"
_DREW = (
    "it draws random numbers, and what compiled it before drew others: give the model that "
    "is not compiled yet, or compile with options={'fallback_random': True}"
)


def assert_matches_eager(
    compiled: Any,
    *args: Any,
    eager: Callable[..., Any] | None = None,
    gradients: bool | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    strides: bool = False,
    seed: int | None = 0,
    compile: Callable[[Any], Any] | None = None,  # noqa: A002  (torch.compile's own name)
    **kwargs: Any,
) -> None:
    """Assert that compiled code agrees with eager code in one call.

    Both run from the same start: the same state, the same random numbers, arguments
    copied with their strides and with what memory they share. They must agree in what
    they return, in what they leave in their arguments, parameters, buffers and plain
    attributes, and in gradients. Afterwards the model is as one eager run leaves it;
    arguments, gradients that a test keeps, and random generators are as before.

    Args:
        compiled: A model or function that ``torch.compile`` has compiled, or one that is
            still to be; for the latter, ``compile`` does it.
        *args: Arguments of the call.
        eager: What to agree with, instead of the same code run eager. Then ``compiled``
            is taken as it is.
        gradients: Whether to compare the gradients of parameters and of arguments that
            require one, for random cotangents of all outputs. ``None``: where an
            output has one. ``True``: it is an error if none has.
        rtol: Relative tolerance; by default what ``torch.testing.assert_close`` takes
            for the type of each tensor.
        atol: Absolute tolerance; likewise.
        strides: Whether strides must be equal.
        seed: Seed of both runs; ``None`` starts both from the generators as they are.
        compile: How to compile; by default ``torch.compile``.
        **kwargs: Keyword arguments of the call; one that is named as those above is bound
            by ``functools.partial``.

    Raises:
        DisagreementError: Compiled and eager disagree; it names the first value that does.
        NotComparableError: Something cannot be copied, compared or differentiated.
        Exception: What eager raises, if compiled raises it too; or what only compiled raises.
    """
    pair = _Pair.of(compiled, eager, compile)
    arguments = Arguments(args, kwargs)
    roots = {**roots_of(pair.original), **arguments.modules()}
    found = Generators.read()
    try:
        if seed is not None:
            seed_generators(seed)
        call = Call(arguments, roots, save_state(roots), Generators.read(), gradients)
        _compare(pair, call, Tolerance(rtol, atol, strides))
    finally:
        found.restore()


@dataclass(frozen=True, slots=True)
class _Pair:
    """What is compared.

    Attributes:
        original: The model or function in which the state is found.
        eager: Runs it eager.
        make_compiled: Gives what runs it compiled.
        ours: Whether it is compiled here.
    """

    original: Any
    eager: Callable[..., Any]
    make_compiled: Callable[[], Callable[..., Any]]
    ours: bool

    @classmethod
    def of(
        cls, compiled: Any, eager: Callable[..., Any] | None, compiler: Callable[[Any], Any] | None
    ) -> _Pair:
        original = compiled_objects.original_of(compiled)
        if eager is not None or original is not None or _holds_compiled(compiled):
            candidates = (eager, original, compiled)
            reference = next(each for each in candidates if each is not None)
            return cls(reference, _eager(reference), lambda: compiled, ours=False)
        return cls(compiled, _eager(compiled), lambda: (compiler or _compile)(compiled), ours=True)


def _compare(pair: _Pair, call: Call, tolerance: Tolerance) -> None:
    eager = call.run(pair.eager)
    try:
        call.before.restore()
        compiled = _run_compiled(pair, call, eager)
        _raise_errors(eager, compiled)
        if call.gradients and not eager.differentiated:
            raise NotComparableError(
                "the gradients",
                "no output has one, or nothing requires one",
                "let a parameter or an argument require one, and torch.is_grad_enabled()",
            )
        found = list(differences(eager.leaves, compiled.leaves, tolerance))
        if found:
            call.before.restore()
            nearer = nearer_to_float64(found[0], call, pair.eager, drew=eager.drew)
            raise _disagreement(found, nearer, _LOOK if pair.ours or not eager.drew else _DREW)
    finally:
        eager.state.restore()


def _run_compiled(pair: _Pair, call: Call, eager: Run) -> Run:
    # Only where there are random numbers: it is in the keys of torch's caches.
    same_numbers = (
        compiled_objects.eager_random_numbers() if eager.drew else contextlib.nullcontext()
    )
    with same_numbers:
        return call.run(pair.make_compiled())


def _raise_errors(eager: Run, compiled: Run) -> None:
    """Raise what eager raises, or what compiled alone raises."""
    if eager.error is None:
        if compiled.error is not None:
            raise compiled.error
        return
    text = f"{type(eager.error).__name__}: {eager.error}"
    if compiled.error is None:
        raise DisagreementError("the call", f"eager raises, compiled does not\n  {text}", _LOOK)
    if not _same_error(eager.error, compiled.error):
        other = f"{type(compiled.error).__name__}: {compiled.error}"
        reason = f"eager and compiled raise different errors\n  eager {text}\n  compiled {other}"
        raise DisagreementError("the call", reason, _LOOK) from compiled.error
    raise eager.error


def _same_error(eager: Exception, compiled: Exception) -> bool:
    """Whether compiled raised what eager raised, or Dynamo says that the user's code did."""
    return isinstance(compiled, type(eager)) or type(compiled).__module__ == "torch._dynamo.exc"


def _disagreement(found: list[Difference], nearer: str, look: str) -> DisagreementError:
    first, *others = found
    lines = [first.reason]
    if nearer:
        lines.append(f"  {nearer}")
    if others:
        more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
        lines.append(f"  also: {', '.join(each.path for each in others[:_NAMED])}{more}")
    return DisagreementError(first.path, "\n".join(lines), look)


def drawing_as_eager(options: CompileOptions) -> dict[str, Any]:
    """What to change of options so that Inductor draws the random numbers of eager.

    Where that is to be: then its backend differs, or Dynamo would take what it compiled
    for the model before, which draws others.

    Args:
        options: How the model is compiled otherwise.
    """
    if options.backend != "inductor" or not compiled_objects.draws_eager_random_numbers():
        return {}
    inductor = {**compiled_objects.mode_options(options.mode), **(options.options or {})}
    return {"mode": None, "options": {**inductor, "fallback_random": True}}


def _compile(target: Any) -> Any:
    return torch.compile(target, **drawing_as_eager(CompileOptions()))


def _eager(target: Callable[..., Any]) -> Callable[..., Any]:
    def run_eager(*args: Any, **kwargs: Any) -> Any:
        with _force_eager():
            return target(*args, **kwargs)

    return run_eager


@contextlib.contextmanager
def _force_eager() -> Iterator[None]:
    """Also what is compiled inside of a model runs eager."""
    with stances.ForceEager():
        yield


def _holds_compiled(target: Any) -> bool:
    """Whether parts of a module are compiled, or it compiles itself."""
    if not isinstance(target, torch.nn.Module):
        return False
    modules = list(target.modules())
    return any(
        compiled_objects.compiles_itself(each) or compiled_objects.original_of(each) is not None
        for each in modules
    )
