"""Pretraining tasks, one file each: examples, head, loss, metric and registration together.

A task is found by its registry name; third parties register theirs under the entry point `ernie_pipe.tasks` or
name it as `module:Class` in the config.
"""

import importlib
from importlib import metadata

from ernie_pipe.config import nearest
from ernie_pipe.errors import InputError
from ernie_pipe.tasks.base import Example, PackedBatch, Targets, Task

__all__ = ["BUILT_IN", "ENTRY_POINTS", "Example", "PackedBatch", "Targets", "Task", "find"]

ENTRY_POINTS = "ernie_pipe.tasks"
BUILT_IN = {
    "knowledge_masking": "ernie_pipe.tasks.knowledge_masking:KnowledgeMasking",
    "sentence_reordering": "ernie_pipe.tasks.sentence_reordering:SentenceReordering",
    "sentence_distance": "ernie_pipe.tasks.sentence_distance:SentenceDistance",
    "next_sentence": "ernie_pipe.tasks.next_sentence:NextSentence",
    "sentence_order": "ernie_pipe.tasks.sentence_order:SentenceOrder",
    "capitalization": "ernie_pipe.tasks.capitalization:Capitalization",
    "token_document": "ernie_pipe.tasks.token_document:TokenDocument",
    "ir_relevance": "ernie_pipe.tasks.ir_relevance:IrRelevance",
    "dialogue": "ernie_pipe.tasks.dialogue:Dialogue",
    "discourse_relation": "ernie_pipe.tasks.discourse_relation:DiscourseRelation",
}


def find(name: str) -> type[Task]:
    """Return the task class of a registry name or `module:Class`; `InputError` with the nearest name if none."""
    registered = {point.name: point.value for point in metadata.entry_points(group=ENTRY_POINTS)}
    target = {**registered, **BUILT_IN}.get(name, name if ":" in name else None)
    if target is None:
        raise InputError(
            f"unknown task `{name}`{nearest(name, {**registered, **BUILT_IN})}; one of your own is `module:Class` "
            "(quoted in --set: 'tasks.\"package.module:Class\".key=value')"
        )
    module, _, attribute = target.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(f"task `{name}`: cannot load {target}: {error}") from None
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise InputError(f"task `{name}`: {target} is no subclass of ernie_pipe.tasks.Task")
    return found
