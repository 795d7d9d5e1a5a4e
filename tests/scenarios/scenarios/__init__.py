"""All scenarios by name. Each is a function of a run; its docstring's first line is what `--list` says."""

from typing import Callable

from context import Run

from . import bulk, conversation, days, guards, noise, small, style, trust

Scenario = Callable[[Run], None]

ALL: dict[str, Scenario] = {
    name: scenario
    for group in (small, guards, days, conversation, bulk, style, noise, trust)
    for name, scenario in group.SCENARIOS.items()
}

# By hand on demand: variants that no bar of their own needs, or that take long.
EXTRA = {"guards", "triage10", "discounts10", "taught_twice", "noise_contradictions_short", "style_greeting150", "style_short150", "style_formal150"}
