"""What a job over raw text reads: sources in settings → splits of files → tasks of about equal size."""

import codecs
from collections import Counter
from collections.abc import Iterable
from dataclasses import astuple, replace
from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from ernie_pipe.config import Settings
from ernie_pipe.corpus import manifest as manifests
from ernie_pipe.corpus.storage import resolve
from ernie_pipe.errors import InputError
from ernie_pipe.text import document


def check_encoding(name: str) -> str:
    """Return `name` when Python knows the encoding (or it is `auto`)."""
    if name != "auto":
        try:
            codecs.lookup(name)
        except LookupError:
            raise ValueError(f"unknown encoding {name!r}; known are for example utf-8, gb18030, big5") from None
    return name


Format = Literal["auto", "jsonl", "text", "parquet", "yaml", "dialogue-lines", "pairs", "dureader"]
FORMAT = "how the files are read; auto: by their names (dialogue-lines, pairs and dureader are only read when named)"


class Source(Settings):
    """One source of raw text; its name goes with every document and can be weighted in training."""

    path: str = Field(description="file, folder or address (hdfs://, s3://, …)")
    name: str = Field("", description="name of the source; empty: the file's or folder's own")
    encoding: Annotated[str, AfterValidator(check_encoding)] = Field(
        "auto", description="text encoding; auto tries UTF-8, then GB18030"
    )
    documents: Literal["file", "blank-line", "line"] = Field(
        "file",
        description="what one document of a .txt file is: the file, a block between blank lines, a line",
    )
    text_field: str = Field("text", description="field or column that holds the text (jsonl, parquet)")
    format: Format = Field("auto", description=FORMAT)


class InputSettings(Settings):
    """What to read; a config file may list `sources` in place of `--input`."""

    input: list[str] = Field(default=[], description="files or folders of raw text (jsonl, txt, parquet)")
    sources: list[Source] = Field(default=[], description="sources with options of their own (config file)")
    encoding: Annotated[str, AfterValidator(check_encoding)] = Field(
        "auto", description="text encoding of --input; auto tries UTF-8, then GB18030"
    )
    documents: Literal["file", "blank-line", "line"] = Field(
        "file", description="what one document of a .txt file of --input is"
    )
    text_field: str = Field("text", description="field or column of --input that holds the text")
    format: Format = Field("auto", description=FORMAT)
    split_mib: int = Field(32, ge=1, description="mebibytes of raw text per task")


def plan(settings: InputSettings, output: str, entity_types: Iterable[str] = ()) -> list[tuple[document.Split, int]]:
    """Return every split of the input with its bytes; `InputError` when there is none, or `output` lies inside."""
    given = {name: getattr(settings, name) for name in ("encoding", "documents", "text_field", "format")}
    sources = [*settings.sources, *(Source(path=path, **given) for path in settings.input)]
    if not sources:
        raise InputError("no input: give --input PATH, or `sources` in the config file")
    planned: list[tuple[document.Split, int]] = []
    for source in sources:
        if f"{resolve(output)[1]}/".startswith(f"{resolve(source.path)[1].rstrip('/')}/"):
            raise InputError(f"--output {output} lies in the input {source.path}: choose another place")
        name = source.name or PurePath(source.path.rstrip("/")).name.split(".")[0]
        template = document.Split(
            path="", source=name, format="" if source.format == "auto" else source.format, encoding=source.encoding,
            documents=source.documents, text_field=source.text_field, entity_types=tuple(entity_types),
        )  # fmt: skip
        found = document.plan_splits(source.path, template, split_bytes=settings.split_mib << 20)
        committed = manifests.find(source.path)
        if committed:
            manifests.check_whole(source.path, committed)
        names = {shard["name"] for shard in committed.shards} if committed else None
        found = [pair for pair in found if names is None or PurePath(pair[0].path).name in names]
        twice = {split.path for split, _ in found} & {split.path for split, _ in planned}
        if twice:
            raise InputError(f"{min(twice)}: given twice; every file belongs to one input or source")
        planned += found
    if not planned:
        raise InputError(f"nothing to read: no file in {', '.join(source.path for source in sources)}")
    return planned


def fingerprint(splits: list[tuple[document.Split, int]]) -> str:
    """Return a hash of what is read: paths, sizes, times of change, and how each file is read."""
    files: Counter[str] = Counter()
    for split, size in splits:
        read_as = (split.source, split.path, split.format, split.encoding, split.documents, split.text_field)
        files["\t".join(read_as)] += size
    modified = {path: _modified(path) for path in {split.path for split, _ in splits}}
    return manifests.content_hash([sorted(files.items()), sorted(modified.items())])


def _modified(path: str) -> int:
    system, inner = resolve(path)
    return system.get_file_info(inner).mtime_ns or 0


def tasks(session: Any, spark: Any, splits: list[tuple[document.Split, int]], split_mib: int) -> list[dict[str, Any]]:
    """Return tasks {number, splits}, each of about `split_mib`; a worker reads `document.Split(*fields)` of each."""
    groups = _group(with_line_numbers(session, spark, splits), split_mib << 20)
    return [{"number": number, "splits": [astuple(split) for split in group]} for number, group in enumerate(groups)]


def with_line_numbers(session: Any, spark: Any, splits: list) -> list[tuple[document.Split, int]]:
    """Fill `lines_before` of files that were cut: one pass that counts newlines, only for them."""
    cut = [split for split, _ in splits if split.format != "parquet" and split.end >= 0]
    if not cut:
        return splits
    counting = [{"split": astuple(split)} for split in cut]
    lines = [summary["lines"] for summary in session.run_tasks(spark, counting, count_task, "count lines")]
    before: dict[tuple[str, int], int] = {}
    total: Counter[str] = Counter()
    for split, number in zip(cut, lines, strict=True):
        before[split.path, split.start] = total[split.path]
        total[split.path] += number
    return [
        (replace(split, lines_before=before.get((split.path, split.start), split.lines_before)), size)
        for split, size in splits
    ]


def _group(splits: list[tuple[document.Split, int]], size: int) -> list[list[document.Split]]:
    """Put neighbouring splits together until a task has about `size` bytes (at most 4,096 files)."""
    groups: list[list[document.Split]] = []
    filled = 0
    for split, length in splits:
        if not groups or filled + length > size or len(groups[-1]) >= 4096:
            groups.append([])
            filled = 0
        groups[-1].append(split)
        filled += length
    return groups


def count_task(task: dict[str, Any]) -> dict[str, Any]:
    """Count the newlines of one split."""
    return {"lines": document.count_lines(document.Split(*task["split"]))}
