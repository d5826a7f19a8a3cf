"""Fact cloze by rank: does the model put the true entity before others of its type?

In the spirit of LAMA (Petroni et al. 2019), for entities of several characters: `[MASK][MASK][MASK]是黑龙江的省会。`
A candidate's score is the summed log-probability of its characters at its own number of masks, all masked at
once. Measured: the rank of the true entity among all of its type in the lexicon (MRR), and whether it is the
first of 20 (itself and 19 seeded others of its type).
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ernie_pipe import draws
from ernie_pipe.errors import InputError

AMONG = 20


@dataclass(frozen=True)
class Fact:
    """A relation's template with the subject filled in, and the entity that is asked for."""

    relation: str
    prompt: str
    answer: str
    answer_type: str


@dataclass(frozen=True)
class ClozeResult:
    """Mean reciprocal rank among all candidates and share of first places among 20, with chance levels."""

    facts: int
    mrr: float
    hits_at_1: float
    chance_mrr: float
    per_relation: dict[str, tuple[int, float, float]]


def read_facts(facts: str | Path, relations: str | Path) -> list[Fact]:
    """Read `relation subject subject_type object object_type` and `relation object_type template` (TSV)."""
    templates = {row[0]: row[2] for row in _rows(relations, 3)}
    found = []
    for relation, subject, _, answer, kind in _rows(facts, 5):
        if relation not in templates:
            raise InputError(f"{facts}: relation {relation!r} has no template in {relations}")
        prompt = templates[relation].replace("{subject}", subject)
        found.append(Fact(relation, prompt, answer, kind))
    return found


def _rows(path: str | Path, columns: int) -> list[list[str]]:
    lines = Path(path).read_text(encoding="utf-8").splitlines()[1:]
    rows = [line.split("\t") for line in lines if line]
    wrong = next((number for number, row in enumerate(rows, start=2) if len(row) != columns), None)
    if wrong is not None:
        raise InputError(f"{path}, line {wrong}: expected {columns} columns with tabs between")
    return rows


def cloze(model: Any, tokenizer: Any, facts: Sequence[Fact], lexicon: dict[str, str], *, seed: int = 0) -> ClozeResult:
    """Rank every fact's true entity; `lexicon` is surface → type, `model` a masked language model."""
    by_type: dict[str, list[str]] = defaultdict(list)
    for surface, kind in sorted(lexicon.items()):
        by_type[kind].append(surface)
    ids = {surface: tokenizer.encode(surface, add_special_tokens=False) for surface in lexicon}
    ids |= {fact.answer: tokenizer.encode(fact.answer, add_special_tokens=False) for fact in facts}
    true: dict[str, set[str]] = defaultdict(set)
    for fact in facts:
        true[fact.prompt].add(fact.answer)
    scorer = _Scorer(model, tokenizer)
    ranks, hits, chances = [], [], []
    for number, fact in enumerate(facts):
        # Another true answer to the same prompt is no mistake (LAMA's filter).
        others = [surface for surface in by_type[fact.answer_type] if surface not in true[fact.prompt]]
        candidates = [fact.answer, *others]
        scores = scorer.scores(fact, [ids[surface] for surface in candidates])
        # A tie is lost, as for the first place: whoever knows nothing must not come first.
        ranks.append(1 + int((scores[1:] >= scores[0]).sum()))
        order = np.argsort(draws.uniform(draws.key(seed, number, np.arange(len(others)))))[: AMONG - 1]
        hits.append(bool((scores[1:][order] < scores[0]).all()))
        chances.append(float((1.0 / np.arange(1, len(candidates) + 1)).mean()))
    return _result(facts, np.array(ranks), np.array(hits, dtype=float), float(np.mean(chances)))


def _result(facts: Sequence[Fact], ranks: np.ndarray, hits: np.ndarray, chance: float) -> ClozeResult:
    relations = np.array([fact.relation for fact in facts])
    per_relation = {
        str(name): (int(mine.sum()), float((1 / ranks[mine]).mean()), float(hits[mine].mean()))
        for name in dict.fromkeys(relations)
        if (mine := relations == name).any()
    }
    return ClozeResult(len(facts), float((1 / ranks).mean()), float(hits.mean()), chance, per_relation)


class _Scorer:
    """Log-probabilities of candidates; one forward pass per number of masks."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model, self._tokenizer = model.eval(), tokenizer

    @torch.no_grad()
    def scores(self, fact: Fact, candidates: list[list[int]]) -> np.ndarray:
        lengths = sorted({len(candidate) for candidate in candidates})
        logs = dict(zip(lengths, self._log_probabilities(fact, lengths), strict=True))
        return np.array([
            float(logs[len(candidate)][torch.arange(len(candidate)), torch.tensor(candidate)].sum())
            for candidate in candidates
        ])  # fmt: skip

    def _log_probabilities(self, fact: Fact, lengths: Iterable[int]) -> list[torch.Tensor]:
        mask = self._tokenizer.mask_token
        texts = [fact.prompt.replace("{object}", mask * length) for length in lengths]
        inputs = self._tokenizer(texts, return_tensors="pt", padding=True)
        logits = self._model(**inputs).logits.float().log_softmax(-1)
        masked = inputs["input_ids"] == self._tokenizer.mask_token_id
        return [row[where] for row, where in zip(logits, masked, strict=True)]
