"""A fitted head as a folder: stock transformers files, `ernie_pipe.json` and `report.json`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ernie_pipe.finetune import record, report

if TYPE_CHECKING:
    from ernie_pipe.finetune.head import Head


def save(head: "Head[Any]", folder: str | Path, command: str | None) -> None:
    """Write `head` and what it says about itself; an earlier result at `folder` is replaced."""
    from ernie_pipe.finetune import encoder

    def fill(draft: Path) -> None:
        with encoder.quiet():
            head.model.save_pretrained(draft)
            head.tokenizer.save_pretrained(draft)
        report.write(draft, {name: head.reports[name] for name in head.metrics if name in head.reports})

    record.write_folder(folder, fill, {**_told(head), "command": command, "versions": record.versions()})


def _told(head: "Head[Any]") -> dict[str, Any]:
    return {
        "task": head.task,
        "labels": head.labels,
        "metrics": _given(head.metrics, "dev", "test"),
        "kept": _given(head.metrics, "seed", "epoch"),
        "chosen": head.chosen,
        "seeds": head.metrics.get("seeds", {}),
        "search": head.metrics.get("search", {}),
        "settings": head.settings.model_dump(),
        "task_id": getattr(head.model.config, "finetune_task_id", 0),
        "model": str(head.folder),
        "chain": head.chain,
        "data": _given(head.data, "train", "dev", "test"),
    }


def _given(values: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: values[name] for name in names if name in values}
