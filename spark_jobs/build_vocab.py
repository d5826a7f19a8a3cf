"""A vocabulary built from segmented documents, or a given one measured and extended → a transformers tokenizer folder.

spark-submit spark_jobs/build_vocab.py --input SEGMENTED --output TOKENIZER [--size N]
spark-submit spark_jobs/build_vocab.py --vocab vocab.txt --output TOKENIZER     (a given vocabulary, as it is)
spark-submit spark_jobs/build_vocab.py --vocab vocab.txt --input SEGMENTED --add terms.txt --grow N --output TOKENIZER
"""

import argparse
import hashlib
import sys
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import pyarrow as pa
from pydantic import Field
from tokenizers import Tokenizer

from ernie_pipe.config import Settings, add_arguments, from_arguments
from ernie_pipe.corpus import manifest as manifests
from ernie_pipe.corpus.storage import prepare_folder, resolve, write_atomic
from ernie_pipe.corpus.writer import open_shard
from ernie_pipe.errors import InputError
from ernie_pipe.text import extend, unknown, vocabulary, vocabulary_files

# More distinct strings than this never matter for a vocabulary; the driver stays small.
MOST_STRINGS = 2_000_000
UNKNOWN_ROWS = 500


class VocabSettings(Settings):
    """Settings of the job."""

    input: str | None = Field(None, description="folder of segmented documents to build from, or to measure on")
    vocab: str | None = Field(None, description="take this vocab.txt (BERT's, or ERNIE's with ids) or tokenizer folder")
    add: list[str] = Field(default=[], description="word lists, one word a line: add to --vocab what they need")
    grow: int = Field(0, ge=0, description="add to --vocab up to so many characters and wordpieces that --input needs")
    output: str = Field(description="folder for the tokenizer")
    size: int = Field(18_000, ge=100, description="tokens at most, when a vocabulary is built")
    coverage: float = Field(0.9999, gt=0, le=1, description="share of the text that characters must cover")
    lowercase: bool = Field(True, description="lower-case and strip accents, as ERNIE and BERT base Chinese do")


def main(argv: list[str]) -> int:
    """Run the job with command-line arguments; returns the exit code."""
    parser = argparse.ArgumentParser(prog="ernie-pipe vocab", description=__doc__.split("\n")[0])
    add_arguments(parser, VocabSettings)
    parser.add_argument("--overwrite", action="store_true", help="replace a result of another configuration")
    args = parser.parse_args(argv)
    settings = from_arguments(VocabSettings, args)
    made = build(settings, overwrite=args.overwrite)
    for line in _report(settings.output, made):
        print(line)
    return 0


def _report(output: str, made: manifests.Manifest) -> Iterator[str]:
    counts, details = made.counts, made.details
    if counts.get("words"):
        yield from extend.describe(counts["words"], details["samples"])
    if "given" in counts:
        yield (
            f"{counts['added']} tokens added to {counts['given']}: {_listed(counts['added_by_kind'])}; "
            f"{counts['added'] - counts['appended']} take [unused] rows, {counts['appended']} are appended: the "
            f"embedding table grows by {counts['appended']} rows (`ernie-pipe pretrain --init-from` sees to it)"
        )
    if counts.get("corpus_tokens"):
        worst = " ".join(f"{text[:20]} ({count})" for text, count in list(counts["most_frequent_unknown"].items())[:10])
        share = counts["unknown"] / counts["corpus_tokens"]
        before = f" ({counts['unknown_before']} before the additions)" if "unknown_before" in counts else ""
        yield f"{share:.4%} of {counts['corpus_tokens']} tokens are [UNK]: {counts['unknown']}{before}" + (
            f"; most frequent: {worst}; examples in {output}/unknown.tsv" if worst else ""
        )
    if counts.get("left_out"):
        yield f"{counts['left_out']} occurrences of rare strings were left out of the count"
    yield f"{output}: {counts['tokens']} tokens" + _covered(counts)


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}{'s' * (count != 1)}" for kind, count in counts.items()) or "none"


def _covered(counts: dict[str, Any]) -> str:
    if not counts.get("characters"):
        return ""
    share = counts["covered_characters"] / counts["characters"]
    return f", {share:.4%} of {counts['characters']} Chinese characters and punctuation marks covered"


def build(settings: VocabSettings, *, overwrite: bool = False) -> manifests.Manifest:
    """Build, take or extend the vocabulary, measure it on the corpus and commit the folder."""
    began = time.monotonic()
    _check(settings)
    given = vocabulary_files.read_given(settings.vocab) if settings.vocab else None
    words = vocabulary_files.read_words(settings.add)
    corpus = manifests.read_whole(settings.input, "segmented") if settings.input else None
    lowercase = _lowercase(settings, given)
    config: dict[str, Any] = {"lowercase": lowercase}
    if given is not None:
        config |= {"vocab": manifests.content_hash(given.tokens)}
    if corpus is not None:
        config |= {"input": corpus.data_fingerprint}
    if words:
        config |= {"add": manifests.content_hash(words)}
    if given is None or settings.grow:
        config |= {"coverage": settings.coverage, **({"grow": settings.grow} if given else {"size": settings.size})}
    if manifests.is_done(settings.output, "tokenizer", config, overwrite=overwrite):
        print(f"{settings.output}: already done with this configuration", file=sys.stderr)
        return manifests.read(settings.output, "tokenizer")
    prepare_folder(settings.output)
    counted, left_out = count_corpus(settings.input, corpus) if settings.input and corpus else ([], 0)
    pieces = vocabulary.pieces(counted, lowercase=lowercase)
    counts: dict[str, Any] = {}
    details: dict[str, Any] = {}
    if given is None:
        tokens = vocabulary.choose(counted, size=settings.size, coverage=settings.coverage, lowercase=lowercase)
    else:
        tokens, counts, details = _extended(given.tokens, words, settings, pieces, lowercase)
    longest = given.max_tokens if given and given.max_tokens else 512
    tokenizer = vocabulary.save(tokens, settings.output, lowercase=lowercase, max_tokens=longest)
    if settings.input and corpus:
        counts |= _measure(settings, corpus, counted, pieces, tokenizer) | {"left_out": left_out}
    else:
        _remove(f"{settings.output}/unknown.tsv")
    return manifests.commit(
        settings.output,
        manifests.Manifest(
            kind="tokenizer",
            config=config,
            counts={"tokens": len(tokens), **counts},
            details=details,
            seconds={"wall": round(time.monotonic() - began, 2)},
        ),
    )


def _check(settings: VocabSettings) -> None:
    """Refuse settings that say nothing together."""
    if settings.input is None and settings.vocab is None:
        raise InputError("give --input SEGMENTED to build from, --vocab vocab.txt to take, or both to measure")
    if settings.vocab is None and (settings.add or settings.grow):
        raise InputError(f"--{'add' if settings.add else 'grow'} extends a given vocabulary: give it with --vocab")
    if settings.grow and settings.input is None:
        raise InputError("--grow adds what a corpus needs: give it with --input SEGMENTED")
    if settings.vocab is not None and "size" in settings.model_fields_set:
        raise InputError("--size is for building a vocabulary; with --vocab, `--grow N` adds up to N tokens")


def _lowercase(settings: VocabSettings, given: vocabulary_files.Given | None) -> bool:
    """Return the setting, or what the given tokenizer folder says: a word keeps its ids there."""
    if given is None or given.lowercase is None:
        return settings.lowercase
    if "lowercase" in settings.model_fields_set and settings.lowercase != given.lowercase:
        says = "lower-cases" if given.lowercase else "keeps capitals"
        raise InputError(f"{settings.vocab}: this tokenizer {says}: leave out --{'no-' * given.lowercase}lowercase")
    return given.lowercase


def _extended(
    given: list[str], words: list[str], settings: VocabSettings, pieces: Counter[str], lowercase: bool
) -> tuple[list[str], dict[str, Any], dict[str, Any]]:
    """Return (tokens, counts, details) of the given vocabulary with the words and what the corpus needs."""
    if not words and not settings.grow:
        return given, {}, {}
    added = extend.add_words(words, set(given), lowercase=lowercase)
    if settings.grow:
        now = _known(pieces, [*given, *added.tokens], lowercase)
        vocab = {*given, *added.tokens}
        needed = extend.grow(now.unknown, vocab, limit=settings.grow, coverage=settings.coverage, tokens=now.tokens)
        added.tokens.update({token: "wordpiece" if len(token) > 1 else "character" for token in needed})
    tokens, appended = extend.place(given, added.tokens)
    counts = {
        "given": len(given),
        "words": dict(added.kinds),
        "added": len(added.tokens),
        "added_by_kind": dict(Counter(added.tokens.values())),
        "appended": appended,
        **({"unknown_before": _known(pieces, given, lowercase).unknown.total()} if settings.input else {}),
    }
    ids = {token: number for number, token in enumerate(tokens)}
    return tokens, counts, {"samples": added.samples, "added": {token: ids[token] for token in added.tokens}}


def _known(pieces: Counter[str], tokens: list[str], lowercase: bool) -> unknown.Measured:
    vocab = {token: number for number, token in enumerate(tokens)}
    return unknown.measure(pieces, vocabulary.backend(vocab, lowercase=lowercase))


def _measure(
    settings: VocabSettings,
    corpus: manifests.Manifest,
    counted: list[tuple[str, int]],
    pieces: Counter[str],
    tokenizer: Tokenizer,
) -> dict[str, Any]:
    """Write `unknown.tsv` and return the counts of the corpus in this vocabulary."""
    assert settings.input is not None
    measured = unknown.measure(pieces, tokenizer)
    worst = dict(measured.most_frequent[:UNKNOWN_ROWS])
    found: dict[str, str] = {}
    if worst:
        written = unknown.forms((string for string, _ in counted), worst, tokenizer)
        found = find_examples(settings.input, corpus, written)
    table = unknown.table(measured, found, tokenizer.get_vocab(), rows=UNKNOWN_ROWS)
    write_atomic(f"{settings.output}/unknown.tsv", table.encode())
    return {
        "characters": measured.characters,
        "covered_characters": measured.covered,
        "corpus_tokens": measured.tokens,
        "unknown": measured.unknown.total(),
        "most_frequent_unknown": dict(list(worst.items())[:50]),
    }


def _remove(path: str) -> None:
    """Delete the report of an earlier configuration."""
    system, inner = resolve(path)
    if system.get_file_info(inner).is_file:
        system.delete_file(inner)


def count_corpus(folder: str, corpus: manifests.Manifest) -> tuple[list[tuple[str, int]], int]:
    """Count what the tokenizer keeps apart over all shards, most frequent first; and occurrences left out."""
    import session
    from pyspark.sql import functions as F

    spark = session.start("vocab")
    session.carry_code_of(count_shard)
    paths = [f"{folder}/{shard['name']}" for shard in corpus.shards]

    def partition(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                yield count_shard(paths[number])

    with session.watch(spark, "vocab", len(paths)):
        rows = (
            spark.range(0, len(paths), 1, numPartitions=max(1, len(paths)))
            .mapInArrow(partition, "string string, count long")
            .groupBy("string")
            .agg(F.sum("count").alias("count"))
            .select("string", "count")
            .orderBy(F.desc("count"), "string")
            .limit(MOST_STRINGS)
            .collect()
        )
    counted = [(row["string"], row["count"]) for row in rows]
    total = sum(count for string, count in counted if not string)
    kept = [(string, count) for string, count in counted if string]
    return kept, total - sum(count for _, count in kept)


def count_shard(path: str) -> pa.RecordBatch:
    """Count the strings of one shard: columns `string`, `count`; the empty string stands for the sum."""
    counts: Counter[str] = Counter()
    for batch in open_shard(path).iter_batches(batch_size=256, columns=["text"]):
        for text in batch.column(0).to_pylist():
            vocabulary.count_text(text, counts)
    return pa.RecordBatch.from_pydict(
        {"string": ["", *counts], "count": pa.array([counts.total(), *counts.values()], pa.int64())}
    )


def find_examples(folder: str, corpus: manifests.Manifest, written: dict[str, list[str]]) -> dict[str, str]:
    """Return one example of each unknown piece, of the document that a hash of its id puts first."""
    import session

    tasks = [{"path": f"{folder}/{shard['name']}"} for shard in corpus.shards]
    work = partial(example_task, written=written)
    best: dict[str, list[str]] = {}
    for summary in session.run_tasks(session.start("vocab"), tasks, work, "examples"):
        for piece, ranked in summary["examples"].items():
            best[piece] = min(best.get(piece, ranked), ranked)
    return {piece: example for piece, (_, example) in best.items()}


def example_task(task: dict[str, Any], *, written: dict[str, list[str]]) -> dict[str, Any]:
    """Find examples in one shard: piece → [rank of the document, example]."""
    best: dict[str, list[str]] = {}
    for batch in open_shard(task["path"]).iter_batches(batch_size=256, columns=["doc_id", "text"]):
        for row in batch.to_pylist():
            rank = hashlib.blake2b(row["doc_id"].encode(), digest_size=8).hexdigest()
            for piece, example in unknown.examples(row["text"], written):
                best[piece] = min(best.get(piece, [rank, example]), [rank, example])
    return {"examples": best}


if __name__ == "__main__":
    import session

    sys.exit(session.run_job(main))
