"""Fine-tuning: one class a task, standing on transformers' Trainer and saved as stock transformers folders.

    from ernie_pipe.finetune import Tagger
    tagger = Tagger.from_pretrained("runs/demo/hf")
    tagger.fit("train.txt", dev="dev.txt")
    tagger.predict(["他出生在哈尔滨。"])
    tagger.save("ner")

A new head is one new module with a subclass of `ernie_pipe.finetune.head.Head`, and its line in `HEADS`.
Nothing is imported before it is used, so that command-line help stays instant.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ernie_pipe.finetune.choice import Chooser
    from ernie_pipe.finetune.classifier import Classifier
    from ernie_pipe.finetune.embedder import Embedder
    from ernie_pipe.finetune.pair import PairClassifier
    from ernie_pipe.finetune.reader import Reader
    from ernie_pipe.finetune.tagger import Tagger

HEADS = {
    "classifier": "Classifier",
    "pair": "PairClassifier",
    "tagger": "Tagger",
    "reader": "Reader",
    "embedder": "Embedder",
    "choice": "Chooser",
}
"""Task name, which is also the module's name, and the class in it."""

__all__ = ["HEADS", "Chooser", "Classifier", "Embedder", "PairClassifier", "Reader", "Tagger", "head_class"]


def head_class(task: str) -> Any:
    """Return the class of `task`; `KeyError` when no head has this name."""
    return getattr(importlib.import_module(f"{__name__}.{task}"), HEADS[task])


def __getattr__(name: str) -> Any:
    for task, class_name in HEADS.items():
        if name == class_name:
            return head_class(task)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
