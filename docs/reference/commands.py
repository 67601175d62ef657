"""The page of the command: what click knows of each."""

from __future__ import annotations

import inspect
import re

import click
from blocks import code, page, table

from pytest_compilecache.cli.application import EXIT_CODES, application

_INTRODUCTION = """
`pip install 'pytest-compilecache[cli]'` brings the command `compilecache`;
`python -m pytest_compilecache` is the same. Commands about a store alone (`ls`, `check`, `prune`,
`merge`) need no torch. Facts go to standard output; warnings and progress go to standard error.
With `--json`, the facts are one JSON object. `compilecache --version` prints the version, and
`--help` or `-h` after any command its help.
"""
_STORE = """
The store is `--store`, else `COMPILECACHE_STORE`, else its alias `B10FS_CACHE_DIR`, else the
default that `compilecache info` shows. The [other variables](settings.md) hold as well.
"""
_COMPLETION = """
The shell can complete commands and options. Put the line of your shell into its start-up file:

```sh
eval "$(_COMPILECACHE_COMPLETE=bash_source compilecache)"   # ~/.bashrc, bash 4.4 or later
eval "$(_COMPILECACHE_COMPLETE=zsh_source compilecache)"    # ~/.zshrc, after compinit
```

For fish, write the script once:

```sh
_COMPILECACHE_COMPLETE=fish_source compilecache > ~/.config/fish/completions/compilecache.fish
```
"""


def commands_page() -> str:
    """The page."""
    context = click.Context(application, info_name="compilecache")
    names = application.list_commands(context)
    commands = [(name, application.get_command(context, name)) for name in names]
    codes = [(code(number), meaning) for number, meaning in EXIT_CODES.items()]
    return page(
        "Commands",
        _INTRODUCTION,
        table(
            ("command", "what it does"),
            [
                (f"[{code(name)}](#{name})", _first(command))
                for name, command in commands
                if command
            ],
        ),
        _STORE,
        "## Exit codes",
        table(("code", "meaning"), codes),
        *[_command(name, command, context) for name, command in commands if command],
        "## Shell completion",
        _COMPLETION,
    )


def _first(command: click.Command) -> str:
    return _prose(command).split("\n\n", maxsplit=1)[0].split(". ")[0].rstrip(".") + "."


def _command(name: str, command: click.Command, parent: click.Context) -> str:
    context = click.Context(command, info_name=name, parent=parent)
    usage = " ".join([f"compilecache {name}", *command.collect_usage_pieces(context)])
    rows = [_option(each, context) for each in command.params if isinstance(each, click.Option)]
    options = table(("option", "meaning"), rows)
    return f"## {name}\n\n{_prose(command)}\n\n```text\n{usage}\n```\n\n{options}"


def _prose(command: click.Command) -> str:
    """The help, with lines that click leaves as they are as code."""
    blocks = inspect.cleandoc(command.help or "").split("\n\n")
    return "\n\n".join(
        f"```sh\n{inspect.cleandoc(block.removeprefix(chr(8)).strip(chr(10)))}\n```"
        if block.startswith("\b")
        else _words(block)
        for block in blocks
    )


def _words(text: str) -> str:
    """Options and names of variables as code."""
    return re.sub(r"(?<![`\w-])(--[a-z-]+|\$?[A-Z][A-Z0-9]*_[A-Z0-9_]+)", r"`\1`", text)


def _option(option: click.Option, context: click.Context) -> tuple[str, str]:
    flags = ", ".join(option.opts)
    takes = "" if option.is_flag else f" {_metavar(option, context)}"
    meaning = _words(option.help or "")
    if option.default is not None and not option.is_flag and _given(option.default):
        stated = f"default: {option.default}"
        meaning = meaning if "[default" in meaning else f"{meaning} ({stated})"
    return code(flags + takes), re.sub(r" *\[(default: [^]]+)\]", r" (\1)", meaning)


def _metavar(option: click.Option, context: click.Context) -> str:
    if isinstance(option.type, click.Choice):
        return "{" + ",".join(option.type.choices) + "}"
    return option.make_metavar(context).removesuffix(" RANGE")


def _given(default: object) -> bool:
    """Whether a default was given: click marks absence by an object of its own."""
    return isinstance(default, (str, int, float))
