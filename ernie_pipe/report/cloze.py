"""Fact cloze by rank: does the model put the true entity before others of its type?

In the spirit of LAMA (Petroni et al. 2019), for entities of several characters: `[MASK][MASK][MASK]是黑龙江的省会。`
A candidate's score is the summed log-probability of its tokens at its own number of masks, all masked at once.
Measured: the rank of the true entity among all of its type (MRR), and whether it is the first of 20 (itself and
19 seeded others of its type).

Shapes: `F` facts, `M` masked tokens, `V` vocabulary.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ernie_pipe import draws
from ernie_pipe.errors import InputError
from ernie_pipe.text.encode import SpecialIds

AMONG = 20
_BATCH = 16
# Sequences of ids with special tokens → log-probabilities (M, V) at their [MASK]s, one sequence after another.
Predict = Callable[[list[list[int]]], Tensor]


@dataclass(frozen=True)
class Fact:
    """A relation's template with the subject filled in, and the entity that is asked for."""

    relation: str
    prompt: str
    answer: str
    answer_type: str


@dataclass(frozen=True)
class ClozeResult:
    """Mean reciprocal rank among all candidates and share of first places among 20, with chance levels.

    `per_relation` has (facts, MRR, share of first places) of each.
    """

    facts: int
    mrr: float
    hits_at_1: float
    chance_mrr: float
    per_relation: dict[str, tuple[int, float, float]]


def read_facts(facts: str | Path, relations: str | Path) -> list[Fact]:
    """Read `relation subject subject_type object object_type` and `relation object_type template` (TSV)."""
    templates = {}
    for number, (relation, _, template) in _rows(relations, 3):
        if template.count("{object}") != 1:
            raise InputError(f"{relations}, line {number}: the template must name {{object}} once: {template!r}")
        templates[relation] = template
    found = []
    for number, (relation, subject, _, answer, kind) in _rows(facts, 5):
        if relation not in templates:
            raise InputError(f"{facts}, line {number}: relation {relation!r} has no template in {relations}")
        prompt = templates[relation].replace("{subject}", subject)
        found.append(Fact(relation, prompt, answer, kind))
    return found


def _rows(path: str | Path, columns: int) -> Iterator[tuple[int, list[str]]]:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 ({error})") from None
    for number, line in enumerate(lines[1:], start=2):
        row = line.split("\t")
        if line and len(row) != columns:
            raise InputError(f"{path}, line {number}: expected {columns} columns with tabs between")
        if line:
            yield number, row


class _Candidates(NamedTuple):
    """The entities of one type: ids by length, (number of the entity, tokens)."""

    surfaces: list[str]
    by_length: dict[int, tuple[np.ndarray, np.ndarray]]


class Cloze:
    """Facts made ready to ask: `ranks` asks a model, `result` sums up.

    `lexicon` is surface → type; its entities, and the answers of the facts themselves, are the candidates of their
    type. What the vocabulary cannot write ([UNK]) is neither asked nor offered: `skipped` counts such facts.
    """

    def __init__(
        self,
        facts: Iterable[Fact],
        lexicon: dict[str, str],
        encode: Callable[[str], list[int]],
        special: SpecialIds,
        *,
        seed: int = 0,
    ) -> None:
        self._special, self._seed = special, seed
        listed = list(facts)
        by_type: dict[str, set[str]] = defaultdict(set)
        for surface, kind in [*lexicon.items(), *((fact.answer, fact.answer_type) for fact in listed)]:
            by_type[kind].add(surface)
        ids = {surface: encode(surface) for surfaces in by_type.values() for surface in surfaces}
        known = {surface for surface, tokens in ids.items() if tokens and special.unk not in tokens}
        self.facts = [fact for fact in listed if fact.answer in known]
        self.skipped = len(listed) - len(self.facts)
        self._candidates = {kind: _by_length(sorted(mine & known), ids) for kind, mine in by_type.items()}
        # Another true answer to the same prompt is no mistake (LAMA's filter).
        self._true: dict[str, set[str]] = defaultdict(set)
        for fact in self.facts:
            self._true[fact.prompt].add(fact.answer)
        self._around = [[encode(half) for half in fact.prompt.split("{object}")] for fact in self.facts]

    def __len__(self) -> int:
        return len(self.facts)

    @property
    def longest(self) -> int:
        """Return the tokens of the longest question, special tokens included."""
        return max((len(sequence) for number in range(len(self)) for sequence in self._sequences(number)), default=0)

    def _sequences(self, number: int) -> list[list[int]]:
        """Return a fact's questions: one for each length of its candidates."""
        special, (left, right) = self._special, self._around[number]
        lengths = self._candidates[self.facts[number].answer_type].by_length
        return [[special.cls, *left, *[special.mask] * length, *right, special.sep] for length in lengths]

    def ranks(self, predict: Predict, numbers: Sequence[int] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return the rank of the true entity, and whether it is first of 20, for the facts `numbers` (all: None)."""
        numbers = range(len(self)) if numbers is None else numbers
        ranks, hits = np.zeros(len(numbers), dtype=np.int64), np.zeros(len(numbers))
        for place, (number, logs) in enumerate(self._asked(predict, numbers)):
            ranks[place], hits[place] = self._rank(number, logs)
        return ranks, hits

    def _asked(self, predict: Predict, numbers: Sequence[int]) -> Iterator[tuple[int, list[Tensor]]]:
        """Yield for each fact its log-probabilities by length, many facts in a forward pass."""
        for start in range(0, len(numbers), _BATCH):
            group = numbers[start : start + _BATCH]
            questions = [self._sequences(number) for number in group]
            flat = [sequence for sequences in questions for sequence in sequences]
            masks = [sequence.count(self._special.mask) for sequence in flat]
            rows = iter(predict(flat).split(masks))
            for number, sequences in zip(group, questions, strict=True):
                yield number, [next(rows) for _ in sequences]

    def _rank(self, number: int, logs: list[Tensor]) -> tuple[int, bool]:
        fact = self.facts[number]
        candidates = self._candidates[fact.answer_type]
        scores = np.empty(len(candidates.surfaces))
        for rows, (which, ids) in zip(logs, candidates.by_length.values(), strict=True):
            table = rows.float().cpu().numpy()
            scores[which] = table[np.arange(len(table)), ids].sum(axis=1)
        mine = candidates.surfaces.index(fact.answer)
        others = np.array([surface not in self._true[fact.prompt] for surface in candidates.surfaces])
        # A tie is lost, as for the first place: whoever knows nothing must not come first.
        ahead = scores[others] >= scores[mine]
        drawn = np.argsort(draws.uniform(draws.key(self._seed, number, np.arange(len(ahead)))))[: AMONG - 1]
        return 1 + int(ahead.sum()), not ahead[drawn].any()

    def chance_mrr(self) -> float:
        """Return the mean reciprocal rank of one who guesses."""
        sizes = [
            len(self._candidates[fact.answer_type].surfaces) - len(self._true[fact.prompt]) + 1 for fact in self.facts
        ]
        return float(np.mean([(1.0 / np.arange(1, size + 1)).mean() for size in sizes]))

    def result(self, ranks: np.ndarray, hits: np.ndarray) -> ClozeResult:
        """Sum up the ranks and first places of all facts (F)."""
        relations = np.array([fact.relation for fact in self.facts])
        per_relation = {
            str(name): (int(mine.sum()), float((1 / ranks[mine]).mean()), float(hits[mine].mean()))
            for name in dict.fromkeys(relations.tolist())
            if (mine := relations == name).any()
        }
        return ClozeResult(len(self), float((1 / ranks).mean()), float(hits.mean()), self.chance_mrr(), per_relation)


def _by_length(surfaces: list[str], ids: dict[str, list[int]]) -> _Candidates:
    groups: dict[int, list[int]] = defaultdict(list)
    for number, surface in enumerate(surfaces):
        groups[len(ids[surface])].append(number)
    by_length = {
        length: (np.array(which), np.array([ids[surfaces[number]] for number in which]))
        for length, which in sorted(groups.items())
    }
    return _Candidates(surfaces, by_length)


def masked_lm(model: Any, tokenizer: Any) -> tuple[Predict, Callable[[str], list[int]], SpecialIds]:
    """Return what `Cloze` needs of a transformers masked language model: how it predicts, encodes, and its ids."""
    model.eval()
    mask, pad = tokenizer.mask_token_id, tokenizer.pad_token_id

    @torch.no_grad()
    def predict(sequences: list[list[int]]) -> Tensor:
        longest = max(map(len, sequences))
        ids = torch.tensor([sequence + [pad] * (longest - len(sequence)) for sequence in sequences])
        filled = torch.tensor([[1] * len(sequence) + [0] * (longest - len(sequence)) for sequence in sequences])
        logits = model(input_ids=ids, attention_mask=filled).logits
        return logits[ids == mask].float().log_softmax(-1)

    def encode(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)

    others = (tokenizer.unk_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id)
    return predict, encode, SpecialIds(pad, *others, mask, len(tokenizer))


def cloze(model: Any, tokenizer: Any, facts: Sequence[Fact], lexicon: dict[str, str], *, seed: int = 0) -> ClozeResult:
    """Rank every fact's true entity by a transformers masked language model; `lexicon` is surface → type."""
    predict, encode, special = masked_lm(model, tokenizer)
    asked = Cloze(facts, lexicon, encode, special, seed=seed)
    return asked.result(*asked.ranks(predict))
