"""`python without.py MECHANISM run …`: the command line with one mechanism of validation switched off.

A test that passes whatever the software does proves nothing: each mechanism here has a test that is wrong without it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from jup2kub.agent import mainline, steps
from jup2kub.agent.session import Session
from jup2kub.cli.main import main
from jup2kub.model.facts import Facts


def _blind(see: Callable[[Facts], Facts]) -> None:
    """Let facts of executions reach the run only through `see`."""
    whole = Session.facts_of

    def facts_of(self: Session, *args: Any) -> Facts:
        return see(whole(self, *args))

    Session.facts_of = facts_of  # type: ignore[method-assign]


def comparison() -> None:
    """Values are not compared before and after a cell."""
    _blind(lambda facts: replace(facts, mutated=frozenset(n for n in facts.mutated if n[0] == "@")))


def sharing() -> None:
    """Nobody looks which names share memory or objects with a value that was changed."""

    async def alone(session: Session, kernel: Any, cell: Any, result: Any, **where: Any) -> Facts:
        return replace(session.facts_of(cell, result), aliases=())

    for module in (mainline, steps):
        module.whole_facts = alone


def generators() -> None:
    """Global generators are not looked at."""
    _blind(lambda facts: replace(facts, mutated=frozenset(n for n in facts.mutated if n[:5] != "@rng:")))


def settings() -> None:
    """The settings of libraries are not looked at."""
    _blind(lambda facts: replace(facts, mutated=frozenset(n for n in facts.mutated if n[:5] != "@lib:")))


def homes() -> None:
    """What cannot leave its kernel is dropped with it."""
    whole = steps.save

    async def save(*args: Any, **kwargs: Any) -> Any:
        return (await whole(*args, **kwargs))[0], {}

    steps.save = save


MECHANISMS = {f.__name__: f for f in (comparison, sharing, generators, settings, homes)}

if __name__ == "__main__":
    MECHANISMS[sys.argv.pop(1)]()
    sys.exit(main())
