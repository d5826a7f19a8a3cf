import re
from types import SimpleNamespace

import pytest
import torch

from ernie_pipe import resources
from ernie_pipe.errors import InputError
from ernie_pipe.report.cloze import Fact, cloze, read_facts

VOCAB = {token: number for number, token in enumerate(["[PAD]", "[MASK]", *"甲乙丙丁戊是的省会"])}


class Tokenizer:
    """One token a character."""

    mask_token, mask_token_id = "[MASK]", 1

    def encode(self, text, add_special_tokens):
        return [VOCAB[character] for character in text]

    def __call__(self, texts, return_tensors, padding):
        rows = [[VOCAB[token] for token in re.findall(r"\[MASK\]|.", text)] for text in texts]
        longest = max(map(len, rows))
        return {"input_ids": torch.tensor([row + [0] * (longest - len(row)) for row in rows])}


class Rigged:
    """The same logits everywhere: `liked` characters in falling order."""

    def __init__(self, liked):
        self.row = torch.zeros(len(VOCAB))
        for place, character in enumerate(liked):
            self.row[VOCAB[character]] = 9.0 - place

    def eval(self):
        return self

    def __call__(self, input_ids):
        return SimpleNamespace(logits=self.row.expand(*input_ids.shape, -1))


LEXICON = {"甲": "LOC", "乙": "LOC", "丙": "LOC", "丁戊": "LOC", "戊": "PER"}
FACTS = [Fact("capital", "{object}是省会", "甲", "LOC"), Fact("capital", "省会是{object}的", "丙", "LOC")]


def test_a_model_that_likes_the_answer_ranks_it_first():
    result = cloze(Rigged("甲"), Tokenizer(), FACTS[:1], LEXICON)
    assert (result.facts, result.mrr, result.hits_at_1) == (1, 1.0, 1.0)


def test_ranks_are_counted_among_the_entities_of_the_type():
    result = cloze(Rigged("甲乙丙戊"), Tokenizer(), FACTS, LEXICON)
    assert result.mrr == pytest.approx((1 + 1 / 3) / 2)
    assert result.hits_at_1 == 0.5
    assert result.chance_mrr == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
    assert result.per_relation == {"capital": (2, result.mrr, 0.5)}


def test_candidates_of_several_characters_are_scored_at_their_own_length():
    liked = Rigged("丁戊")
    liked.row[VOCAB["丁"]] = liked.row[VOCAB["戊"]] = 9.0
    result = cloze(liked, Tokenizer(), [Fact("r", "{object}的", "丁戊", "LOC")], LEXICON)
    assert result.mrr == 1.0


def test_a_model_that_knows_nothing_wins_nothing_by_ties():
    indifferent = cloze(
        Rigged(""), Tokenizer(), FACTS, {name: kind for name, kind in LEXICON.items() if len(name) == 1}
    )
    assert indifferent.hits_at_1 == 0
    assert indifferent.mrr < indifferent.chance_mrr


def test_the_sample_facts_fit_their_templates():
    facts = read_facts(resources.sample() / "facts.tsv", resources.sample() / "relations.tsv")
    assert len(facts) > 20
    assert all(fact.prompt.count("{object}") == 1 and "{subject}" not in fact.prompt for fact in facts)


def test_a_broken_table_is_named_with_its_line(write):
    relations = write("relations.tsv", "relation\tobject_type\ttemplate\nr\tLOC\t{subject}在{object}\n")
    with pytest.raises(InputError, match=r"facts\.tsv, line 3: expected 5 columns"):
        read_facts(write("facts.tsv", "h\th\th\th\th\nr\ta\tPER\tb\tLOC\nr\ta\n"), relations)
    with pytest.raises(InputError, match="relation 'x' has no template"):
        read_facts(write("facts.tsv", "h\th\th\th\th\nx\ta\tPER\tb\tLOC\n"), relations)
