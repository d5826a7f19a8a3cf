"""Discourse relations from connectives: texts → pairs of arguments without the connective, with the relation's name.

In: texts and an `Inventory`. Out: `Pair`s, and a count of what was found and not taken, by reason. No labels are
needed (Sileo et al. 2019, arXiv 1903.11850, do it with sentence-initial markers of English).

- A *clause* ends at any of ，：— and at the end of a sentence (。！？；… or a newline); a paragraph is never left.
- A connective counts where a clause begins; one that opens a first argument also after a subject of at most
  `SUBJECT` characters (他虽然…). It must begin and end where the word engine's words do (同时代 holds no 同时).
- `但是` at the beginning of a sentence: the first argument is what stands before it in the sentence before. Inside a
  sentence: what stands before it there. Arguments are runs of whole clauses next to the connective, of at most
  `most` characters; they end where another connective begins a clause, and at a quote or bracket they stand in.
- What would tell the connective goes too: the other half of a pair, commas and marks at the rims, 的话 after a
  condition; and, *whatever the relation*, the correlative adverbs (就, 才, 也, 都, 却 …) at the beginning of the second
  argument, so that neither their presence nor their absence says anything. A pair in whose arguments any connective
  of two characters or more is left, of whatever relation, is not taken.
"""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from ernie_pipe.text import connective_inventory
from ernie_pipe.text.clauses import BORDER, LINE, RIMS, WEAK, Clauses, balanced
from ernie_pipe.text.connective_inventory import Entry, Inventory
from ernie_pipe.text.spans import SEPARATOR
from ernie_pipe.text.words import WordEngine, load_engine

SUBJECT, SECOND_WITHIN, CLAUSES_OF_FIRST = 8, 12, 4
CORRELATIVES = frozenset(
    (
        "就",
        "便",
        "才",
        "也",
        "都",
        "还",
        "却",
        "又",
        "则",
        "仍",
        "仍然",
        "还是",
        "那么",
        "均",
        "倒",
        "反而",
        "依然",
        "即",
    )
)
_HAN = re.compile("[\u4e00-\u9fff]")


class Pair(NamedTuple):
    """Two arguments in the order of the text, the relation between them, and the connective that named it.

    `at`: the character of the text where the side of the second argument begins (a connective there included).
    """

    relation: str
    connective: str
    arg1: str
    arg2: str
    at: int


class _Hit(NamedTuple):
    word: str
    start: int
    end: int
    clause: int
    is_first: bool


class RelationMiner:
    """Finds pairs in batches of texts.

    `least` and `most`: characters of an argument, `least` of them Chinese.
    """

    def __init__(self, inventory: Inventory, engine: WordEngine, *, least: int = 6, most: int = 60) -> None:
        self.inventory, self.engine = inventory, engine
        self.least, self.most = least, most
        self._openers = {word for word, found in inventory.entries.items() if any(entry.opens for entry in found)}

    def find(self, texts: Sequence[str], skipped: Counter[str]) -> list[tuple[int, Pair]]:
        """Return (number of the text, pair) in order; adds to `skipped` what was found and not taken, by reason."""
        return _Batch(self, texts, skipped).pairs()


@lru_cache(maxsize=2)
def load_miner(inventory: str, engine: str, *, hmm: bool, least: int, most: int) -> RelationMiner:
    """Build a miner from the text of an inventory, once per process."""
    return RelationMiner(connective_inventory.parse(inventory), load_engine(engine, hmm=hmm), least=least, most=most)


class _Batch(Clauses):
    """The clauses of texts joined by newlines, and the connectives in them."""

    def __init__(self, miner: RelationMiner, texts: Sequence[str], skipped: Counter[str]) -> None:
        self.miner, self.skipped = miner, skipped
        super().__init__(SEPARATOR.join(texts))
        self.document_starts = [0]
        for one in texts:
            self.document_starts.append(self.document_starts[-1] + len(one) + len(SEPARATOR))
        self.heads: dict[int, _Hit] = {}
        self.hits = self._find_hits()

    def _find_hits(self) -> list[_Hit]:
        """Return the connectives at the beginning of clauses, and openers after a short subject."""
        text, starts = self.text, self.starts
        openers = self.miner._openers
        hits = []
        for match in self.miner.inventory.pattern.finditer(text):
            start, end = match.span()
            clause = bisect_right(starts, start) - 1
            before = start - starts[clause]
            if before > SUBJECT + 4:
                continue
            begin = self.first_word(clause)
            word = match.group()
            if begin >= start:
                hit = self.heads[clause] = _Hit(word, start, end, clause, True)
                hits.append(hit)
            elif start - begin <= SUBJECT and word in openers:
                hits.append(_Hit(word, start, end, clause, False))
        return hits

    def pairs(self) -> list[tuple[int, Pair]]:
        """Return (document, pair) of every connective whose relation and arguments are clear; `skipped` counts others.

        `Pair.at` counts from the beginning of its document.
        """
        found: list[tuple[int, Pair]] = []
        taken: set[int] = set()
        for hit in self.hits:
            if hit.start in taken:
                continue
            entries = self.miner.inventory.entries[hit.word]
            allowed = [entry for entry in entries if self._is_allowed(entry, hit)]
            if allowed and not self._stands_on_words(hit):
                self.skipped["part of another word"] += 1
                continue
            pair, reason = None, "ambiguous"
            for entry in allowed:
                pair, reason = self._opened(entry, hit, taken) if entry.opens else self._linked(entry, hit)
                if pair or reason != "no second half":
                    break
            if pair is None:
                self.skipped[reason] += 1
            else:
                number = bisect_right(self.document_starts, hit.start) - 1
                found.append((number, pair._replace(at=pair.at - self.document_starts[number])))
        return found

    def _is_allowed(self, entry: Entry, hit: _Hit) -> bool:
        # After a subject one character alone says little: the other half must stand there too.
        if not hit.is_first and not (entry.opens and (entry.seconds or len(hit.word) > 1)):
            return False
        if entry.unless is not None and entry.unless.match(self.text, hit.end):
            return False
        if not entry.places:
            return True
        inside = self.kind(hit.clause) == WEAK
        return not (
            ("head" in entry.places and (inside or not hit.is_first))
            or ("start" in entry.places and not hit.is_first)
            or ("inside" in entry.places and not inside)
            or ("last" in entry.places and self.goes_on(hit.clause + 1))
            or ("comma" in entry.places and not (hit.end == self.ends[hit.clause] and self.goes_on(hit.clause + 1)))
        )

    def _stands_on_words(self, hit: _Hit) -> bool:
        """Whether words of the engine begin and end where the connective does."""
        first = max(self.starts[hit.clause], hit.start - SUBJECT) if not hit.is_first else hit.start
        borders, at = {first}, first
        for word in self.miner.engine.cut(self.text[first : min(self.ends[hit.clause], hit.end + 6)]):
            at += len(word)
            borders.add(at)
        return hit.start in borders and hit.end in borders

    def _linked(self, entry: Entry, hit: _Hit) -> tuple[Pair | None, str]:
        """The pair of a connective that opens the second argument."""
        second = self._second_argument(hit.clause, hit.end)
        before = self._first_argument(hit.clause)
        if not second or not before:
            return None, "no argument" if not before else "no second argument"
        return self._finish(entry.relation, hit.word, self.text[before[0] : before[1]], second, hit.start)

    def _first_argument(self, clause: int) -> tuple[int, int] | None:
        """The clauses before `clause`: of its sentence, or of the one before where it begins one."""
        if self.kind(clause) == LINE:
            return None
        end, start, wrapped = self.ends[clause - 1], -1, False
        for at in range(clause - 1, -1, -1):
            head = self.heads.get(at)
            begin = head.end if head else self.starts[at]
            if end - begin > self.miner.most or (head and at < clause - 1):
                break
            start, wrapped = begin, not head and self.is_wrapped(at)
            if head or self.kind(at) != WEAK:
                break
        return None if start < 0 or wrapped else (start, end)

    def _second_argument(self, clause: int, begin: int) -> str:
        """The clauses from `begin` on, in `clause`: to the end of the sentence or to the next connective."""
        if begin >= self.ends[clause]:
            if not self.goes_on(clause + 1):
                return ""
            clause += 1
            begin = self.starts[clause]
        end, at = self.ends[clause], clause + 1
        while self.goes_on(at) and at not in self.heads and self.ends[at] - begin <= self.miner.most:
            end = self.ends[at]
            at += 1
        return "" if self.is_wrapped(at) else self.text[begin:end]

    def _opened(self, entry: Entry, hit: _Hit, taken: set[int]) -> tuple[Pair | None, str]:
        """The pair of a connective that opens the first argument."""
        text, clause = self.text, hit.clause
        head = self.heads.get(clause)
        # 但如果…: a connective before this one belongs to another pair.
        begin = head.end if head and head.start < hit.start else self.starts[clause]
        subject = text[begin : hit.start]
        if not entry.seconds:
            if not self.goes_on(clause + 1) or clause + 1 in self.heads:
                return None, "no second half"
            first = subject + text[hit.end : self.ends[clause]]
            border = self.starts[clause + 1]
            after = self._second_argument(clause + 1, border)
            return self._finish(entry.relation, f"{hit.word}…", first, after, border)
        found = self._second_half(entry, hit)
        if found is None:
            return None, "no second half"
        at, start, end = found
        first = subject + text[hit.end : self.ends[at - 1] if at > clause else start]
        # What stands between the comma and the second half is its subject.
        second = text[self.starts[at] : start] if at > clause else ""
        taken.add(start)
        after = self._second_argument(at, end)
        border = self.starts[at] if at > clause else start
        return self._finish(entry.relation, f"{hit.word}…{text[start:end]}", first, second + after, border)

    def _second_half(self, entry: Entry, hit: _Hit) -> tuple[int, int, int] | None:
        """Return (clause, start, end) of the first of `entry.seconds` in the clauses that follow, or in its own."""
        same = [word for word in entry.seconds if len(word) > 1]
        limit = self.ends[hit.clause]
        inside = [(at, word) for word in same if (at := self.text.find(word, hit.end + 2, limit)) >= 0]
        if inside:
            at, word = min(inside, key=lambda pair: (pair[0], -len(pair[1])))
            return hit.clause, at, at + len(word)
        for clause in range(hit.clause + 1, hit.clause + 1 + CLAUSES_OF_FIRST):
            if not self.goes_on(clause):
                return None
            head = self.heads.get(clause)
            if head and head.word in entry.seconds:
                return clause, head.start, head.end
            begin = self.starts[clause]
            at = begin
            for word in self.miner.engine.cut(self.text[begin : min(self.ends[clause], begin + SECOND_WITHIN)]):
                if word in entry.seconds:
                    return clause, at, at + len(word)
                at += len(word)
            if head:
                return None
        return None

    def _finish(self, relation: str, connective: str, first: str, second: str, at: int) -> tuple[Pair | None, str]:
        """Trim the arguments and look whether they can serve; a reason where they cannot."""
        first = balanced(first, keep_end=True).strip(RIMS)
        first = first.removesuffix("的话").strip(RIMS)
        second = self._without_correlatives(balanced(second, keep_end=False).strip(RIMS))
        for argument in (first, second):
            if len(argument) > self.miner.most:
                return None, "too long"
            if len(_HAN.findall(argument)) < self.miner.least:
                return None, "too short"
            if self.miner.inventory.telling.search(argument):
                return None, "another connective left"
        return Pair(relation, connective, first, second, at), ""

    def _without_correlatives(self, second: str) -> str:
        """Leave the correlative adverbs out of the first `SECOND_WITHIN` characters of the first clause."""
        border = BORDER.search(second)
        limit = min(border.start() if border else len(second), SECOND_WITHIN)
        kept, at = [], 0
        for word in self.miner.engine.cut(second[: limit + 4]):
            if at >= limit:
                break
            kept.append("" if word in CORRELATIVES or (word == "而" and not at) else word)
            at += len(word)
        return ("".join(kept) + second[at:]).strip(RIMS)
