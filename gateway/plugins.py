"""The stages there are, by name: the built-in ones, and those that other distributions offer.

A distribution offers one by the entry point group ``postroom.stages``: its name is the name in the lines and in
``[stages.NAME]``, its object the stage's dataclass. A built-in name cannot be taken.
"""

from __future__ import annotations

from dataclasses import is_dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

GROUP = "postroom.stages"
_BUILT_IN = {
    "ingest": "stages.ingest:IngestStage",
    "blocklist": "stages.blocklist:BlocklistStage",
    "auto_reply": "stages.auto_reply:AutoReplyStage",
    "ring_group": "stages.ring_group:RingGroupStage",
    "signature": "stages.signature:SignatureStage",
}


def stage_names() -> list[str]:
    """The names of all stages."""
    return [*_BUILT_IN, *(name for name in sorted(_offered()) if name not in _BUILT_IN)]


def stage_class(name: str) -> type[Any] | None:
    """The dataclass of a stage, or None where there is none of that name.

    Unknown keys of a standard dataclass would be dropped silently by pydantic, so the class is told to forbid them.
    """
    if (place := _BUILT_IN.get(name) or _offered().get(name)) is None:
        return None
    module, _, attribute = place.partition(":")
    found: Any = getattr(import_module(module), attribute)
    if not isinstance(found, type) or not is_dataclass(found):
        raise TypeError(f"the stage {name} ({place}) is not a dataclass")
    if "__pydantic_config__" not in vars(found):
        found.__pydantic_config__ = {"extra": "forbid"}  # type: ignore[attr-defined]
    return found


@cache
def _offered() -> dict[str, str]:
    return {point.name: point.value for point in entry_points(group=GROUP)}
