"""Semantic search over a file of sentences: exact, by the dot product of vectors, in blocks; and its command.

In: a model of sentence vectors, a file with a text a line (or TSV, CSV, jsonl with a text column), queries. Out: for
each query the nearest texts with their cosine. An index keeps the vectors of a corpus for the next search.
"""

import argparse
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from ernie_pipe.errors import InputError
from ernie_pipe.finetune import record
from ernie_pipe.finetune.commands import speak, write_jsonl
from ernie_pipe.finetune.data import read_texts
from ernie_pipe.finetune.wording import many

log = logging.getLogger(__name__)

VECTORS = "vectors.npy"
_TASK = "search index"
_QUERIES, _TEXTS = 256, 65_536


@dataclass(frozen=True)
class Index:
    """The texts of a corpus that are not blank, the number of each in it (from 1), and their vectors [texts, H]."""

    texts: list[str]
    numbers: np.ndarray
    vectors: np.ndarray

    @classmethod
    def build(cls, embedder: Any, texts: Sequence[str], *, name: str, folder: str | Path | None = None) -> Self:
        """Take the vectors of texts from the index in `folder` when it is of them and of this model, else make them.

        Made ones are written to `folder`, where one is given. `InputError`: nothing but blank texts, a `folder` that
        is something else.
        """
        numbers = np.array([number for number, text in enumerate(texts, start=1) if text.strip()], dtype=np.int64)
        if not len(numbers):
            raise InputError(f"{name}: no text to search in")
        if len(numbers) < len(texts):
            blank = len(texts) - len(numbers)
            log.warning("%s: %d of %d texts are blank: left out of the search", name, blank, len(texts))
        kept = [texts[number - 1] for number in numbers]
        if folder is None:
            return cls(kept, numbers, embedder.encode(kept))
        record.check_output(folder, model=embedder.folder)
        known = {"task": _TASK, "texts": len(kept), "corpus": _hash(kept), "model": embedder.fingerprint()}
        if _is_known(folder, known):
            log.info("%s: the vectors of %s are taken from there", folder, many(len(kept), "texts"))
        else:
            log.info("%s: computing the vectors of %s", folder, many(len(kept), "texts"))
            vectors = embedder.encode(kept)
            record.write_folder(folder, lambda draft: np.save(draft / VECTORS, vectors), known)
        return cls(kept, numbers, np.load(Path(folder) / VECTORS, mmap_mode="r"))

    def search(self, queries: np.ndarray, top: int) -> list[list[dict[str, Any]]]:
        """Return the `top` nearest texts for each query vector: `{"score", "number", "text"}`, nearest first."""
        return [
            [{"score": round(score, 6), "number": int(self.numbers[i]), "text": self.texts[i]} for i, score in found]
            for found in nearest(queries, self.vectors, top)
        ]


def _hash(texts: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()


def _is_known(folder: str | Path, known: dict[str, Any]) -> bool:
    found = record.read(folder)
    if found and found.get("task") != _TASK:
        raise InputError(f"{folder}: holds a {found.get('task')}, no search index: give another folder")
    if found and any(found.get(key) != value for key, value in known.items()):
        log.info("%s: of another corpus or model: made anew", folder)
        return False
    return bool(found)


def nearest(queries: np.ndarray, corpus: np.ndarray, top: int) -> list[list[tuple[int, float]]]:
    """Return for each query [queries, H] the `top` rows of `corpus` [texts, H] of the highest dot product.

    Exact, by blocks of both, so that memory stays small; equal scores stand in the order of the corpus.
    """
    results = []
    for start in range(0, len(queries), _QUERIES):
        block = np.ascontiguousarray(queries[start : start + _QUERIES])
        places: np.ndarray = np.empty((len(block), 0), dtype=np.int64)
        scores: np.ndarray = np.empty((len(block), 0), dtype=np.float32)
        for first in range(0, len(corpus), _TEXTS):
            found = block @ corpus[first : first + _TEXTS].T
            best = _top(found, top)
            places = np.concatenate([places, best + first], axis=1)
            scores = np.concatenate([scores, np.take_along_axis(found, best, axis=1)], axis=1)
            kept = _top(scores, top)
            places, scores = (np.take_along_axis(side, kept, axis=1) for side in (places, scores))
        results += [list(zip(*row, strict=True)) for row in zip(places.tolist(), scores.tolist(), strict=True)]
    return results


def _top(scores: np.ndarray, top: int) -> np.ndarray:
    """Return the columns of the `top` highest scores of each row, highest first, of equal ones the first ones."""
    top = min(top, scores.shape[1])
    # The partition takes any of the scores that equal the last one taken: the first ones are chosen by hand.
    edge = np.partition(scores, scores.shape[1] - top, axis=1)[:, scores.shape[1] - top]
    rows = [
        np.concatenate([np.flatnonzero(row > least), np.flatnonzero(row == least)])[:top]
        for row, least in zip(scores, edge, strict=True)
    ]
    chosen = np.stack(rows)
    order = np.argsort(-np.take_along_axis(scores, chosen, axis=1), axis=1, kind="stable")
    return np.take_along_axis(chosen, order, axis=1)


def main(argv: list[str]) -> int:
    """Search a file of sentences; print what is nearest to each query, or write it as jsonl."""
    args = _parser().parse_args(argv)
    speak()
    from ernie_pipe.finetune.embedder import Embedder

    if args.top < 1:
        raise InputError(f"--top {args.top}: ask for one at least")
    queries = args.query or read_texts(args.queries)
    blank = next((number for number, query in enumerate(queries, start=1) if not query.strip()), None)
    if blank is not None:
        place = "--query" if args.query else args.queries
        raise InputError(f"{place}: query {blank} is empty: leave it out")
    texts = read_texts(args.corpus)
    task = record.read(args.model).get("task", Embedder.task)
    if task != Embedder.task:
        raise InputError(f"{args.model}: fine-tuned as {task}: run `ernie-pipe finetune {Embedder.task}` first")
    embedder = Embedder.from_pretrained(args.model)
    index = Index.build(embedder, texts, name=args.corpus, folder=args.index)
    found = index.search(embedder.encode(queries), args.top)
    if args.output:
        write_jsonl(args.output, [{"query": query, "found": hits} for query, hits in zip(queries, found, strict=True)])
        print(f"{many(len(queries), 'queries', 'query')}: {args.output}")
    else:
        print("\n".join(line for query, hits in zip(queries, found, strict=True) for line in _lines(query, hits)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ernie-pipe search", description="Find the sentences nearest in meaning.")
    parser.add_argument("--model", required=True, metavar="DIR", help="folder written by `finetune embedder`")
    parser.add_argument("--corpus", required=True, metavar="FILE", help="sentences: one a line, or TSV, CSV, jsonl")
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--query", nargs="+", metavar="TEXT", help="what to search for")
    asked.add_argument("--queries", metavar="FILE", help="the same from a file, one a line")
    parser.add_argument("--top", type=int, default=10, metavar="N", help="sentences for each query (default: 10)")
    parser.add_argument("--index", metavar="DIR", help="folder that keeps the corpus' vectors for the next search")
    parser.add_argument("--output", metavar="FILE", help="jsonl to write, else it is printed")
    return parser


def _lines(query: str, hits: Sequence[dict[str, Any]]) -> list[str]:
    width = len(str(max(hit["number"] for hit in hits)))
    return [query, *(f"  {hit['score']:.4f}  {hit['number']:>{width}}  {hit['text']}" for hit in hits)]
