"""Asserts that a compiled model computes what eager computes, gradients and state included."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from pytest_compilecache.agreement.judging import Difference, Judge, Tolerance, one_line
from pytest_compilecache.agreement.running import Call, Generators, Run, seed_generators
from pytest_compilecache.agreement.state import roots_of, save_state
from pytest_compilecache.agreement.values import Arguments
from pytest_compilecache.compiling.options import CompileOptions
from pytest_compilecache.errors import DisagreementError, NotComparableError
from pytest_compilecache.torchhooks import compiled as torch_compiled
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
        eager: What to agree with instead; then ``compiled`` is taken as it is.
        gradients: Whether to compare the gradients of parameters and of arguments that
            require one, for random cotangents of all outputs. ``None``: where an
            output has one. ``True``: it is an error if none has.
        rtol: Relative tolerance. By default what ``torch.testing.assert_close`` takes for
            the type of each tensor, and beyond that a small multiple of eager's own
            error against float64. What is given is obeyed as it is.
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
    modules = (leaf for leaf in arguments.leaves() if isinstance(leaf.value, torch.nn.Module))
    roots = {**roots_of(pair.original), **{leaf.path: leaf.value for leaf in modules}}
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
    """What is compared."""

    # The model or function in which the state is found.
    original: Any
    eager: Callable[..., Any]
    make_compiled: Callable[[], Callable[..., Any]]
    compiled_here: bool

    @classmethod
    def of(
        cls, compiled: Any, eager: Callable[..., Any] | None, compiler: Callable[[Any], Any] | None
    ) -> _Pair:
        original = torch_compiled.original_of(compiled)
        if eager is not None or original is not None or _holds_compiled(compiled):
            candidates = (eager, original, compiled)
            reference = next(each for each in candidates if each is not None)
            return cls(reference, _eager(reference), lambda: compiled, compiled_here=False)
        compiler = compiler or _compile
        return cls(compiled, _eager(compiled), lambda: compiler(compiled), compiled_here=True)


def _compare(pair: _Pair, call: Call, tolerance: Tolerance) -> None:
    eager = call.run(pair.eager)
    try:
        compiled = _run_compiled(pair, call, eager)
        _raise_errors(eager, compiled)
        if call.gradients and not eager.has_gradients:
            raise NotComparableError(
                "the gradients",
                "no output has one, or nothing requires one",
                "let a parameter or an argument require one, and torch.is_grad_enabled()",
            )
        found = list(Judge(call, pair.eager, eager, tolerance).differences(compiled))
        if found:
            drew_others = eager.drew_random_numbers and not pair.compiled_here
            raise _disagreement(found, _DREW if drew_others else _LOOK)
    finally:
        eager.state.restore()


def _run_compiled(pair: _Pair, call: Call, eager: Run) -> Run:
    # Only where there are random numbers: the setting is in the keys of torch's caches.
    drew = eager.drew_random_numbers
    same_numbers = torch_compiled.eager_random_numbers() if drew else contextlib.nullcontext()
    with same_numbers:
        return call.run(pair.make_compiled())


def _raise_errors(eager: Run, compiled: Run) -> None:
    """Raise what eager raises, or what compiled alone raises."""
    if eager.error is None:
        if compiled.error is not None:
            raise compiled.error
        return
    text = _named(eager.error)
    if compiled.error is None:
        raise DisagreementError("the call", f"eager raises, compiled does not\n  {text}", _LOOK)
    expected = isinstance(compiled.error, type(eager.error))
    if not (expected or torch_compiled.is_dynamos(compiled.error)):
        other = _named(compiled.error)
        reason = f"eager and compiled raise different errors\n  eager {text}\n  compiled {other}"
        raise DisagreementError("the call", reason, _LOOK) from compiled.error
    raise eager.error


def _named(error: Exception) -> str:
    return one_line(f"{type(error).__name__}: {error}")


def _disagreement(found: list[Difference], look: str) -> DisagreementError:
    first, *others = found
    reason = first.reason
    if others:
        more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
        reason += f"\n  also: {', '.join(each.path for each in others[:_NAMED])}{more}"
    return DisagreementError(first.path, reason, look)


def drawing_as_eager(options: CompileOptions) -> dict[str, Any]:
    """What to change of options so that Inductor draws the random numbers of eager.

    Where that is to be: then its backend differs, or Dynamo would take what it compiled
    for the model before, which draws others.

    Args:
        options: How the model is compiled otherwise.
    """
    if options.backend != "inductor" or not torch_compiled.draws_eager_random_numbers():
        return {}
    inductor = {**torch_compiled.mode_options(options.mode), **(options.options or {})}
    return {"mode": None, "options": {**inductor, "fallback_random": True}}


def _compile(target: Any) -> Any:
    return torch.compile(target, **drawing_as_eager(CompileOptions()))


def _eager(target: Callable[..., Any]) -> Callable[..., Any]:
    def run_eager(*args: Any, **kwargs: Any) -> Any:
        with stances.ForceEager():  # for what is compiled inside of a model as well
            return target(*args, **kwargs)

    return run_eager


def _holds_compiled(target: Any) -> bool:
    """Whether parts of a module are compiled, or it compiles itself."""
    if not isinstance(target, torch.nn.Module):
        return False
    return any(
        torch_compiled.compiles_itself(each) or torch_compiled.original_of(each) is not None
        for each in target.modules()
    )
