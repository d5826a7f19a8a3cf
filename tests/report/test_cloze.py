from types import SimpleNamespace

import pytest
import torch

from ernie_pipe import resources
from ernie_pipe.errors import InputError
from ernie_pipe.report.cloze import Cloze, Fact, cloze, masked_lm, read_facts

VOCAB = {
    token: number for number, token in enumerate(["[PAD]", "[MASK]", "[UNK]", "[CLS]", "[SEP]", *"甲乙丙丁戊是的省会"])
}


class Tokenizer:
    """One token a character."""

    pad_token_id, mask_token_id, unk_token_id, cls_token_id, sep_token_id = range(5)

    def __len__(self):
        return len(VOCAB)

    def encode(self, text, add_special_tokens, split_special_tokens):
        return [VOCAB.get(character, self.unk_token_id) for character in text]


class Rigged:
    """The same logits everywhere: `liked` characters in falling order."""

    def __init__(self, liked):
        self.row = torch.zeros(len(VOCAB))
        for place, character in enumerate(liked):
            self.row[VOCAB[character]] = 9.0 - place

    def eval(self):
        return self

    def __call__(self, input_ids, attention_mask):
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


def test_what_the_vocabulary_cannot_write_is_neither_asked_nor_offered():
    predict, encode, special = masked_lm(Rigged("乙"), Tokenizer())
    facts = [FACTS[0], Fact("capital", "{object}是省", "甲魚", "LOC")]
    asked = Cloze(facts, LEXICON | {"鱼": "LOC"}, encode, special)
    assert (len(asked), asked.skipped) == (1, 1)
    ranks, _ = asked.ranks(predict)
    # Behind 乙 and level with 丙, which loses a tie; 丁戊 has two masks to win.
    assert ranks.tolist() == [3]
    assert asked.chance_mrr() == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)


def test_the_sample_facts_fit_their_templates():
    facts = read_facts(resources.sample() / "facts.tsv", resources.sample() / "relations.tsv")
    assert len(facts) > 20
    assert all(fact.prompt.count("{object}") == 1 and "{subject}" not in fact.prompt for fact in facts)


def test_a_broken_table_is_named_with_its_line(write):
    relations = write("relations.tsv", "relation\tobject_type\ttemplate\nr\tLOC\t{subject}在{object}\n")
    with pytest.raises(InputError, match=r"facts\.tsv, line 3: expected 5 columns"):
        read_facts(write("facts.tsv", "h\th\th\th\th\nr\ta\tPER\tb\tLOC\nr\ta\n"), relations)
    with pytest.raises(InputError, match="line 2: relation 'x' has no template"):
        read_facts(write("facts.tsv", "h\th\th\th\th\nx\ta\tPER\tb\tLOC\n"), relations)
    broken = write("templates.tsv", "relation\tobject_type\ttemplate\nr\tLOC\t{subject}在那里\n")
    with pytest.raises(InputError, match=r"templates\.tsv, line 2: the template must name \{object\} once"):
        read_facts(write("facts.tsv", "h\th\th\th\th\n"), broken)
