import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernie_pipe import draws
from ernie_pipe.tasks import find
from ernie_pipe.tasks.candidates import role_bits
from ernie_pipe.tasks.sentences import cut_somewhere, from_sentence, is_running, other_sentences, repeats, sentence
from ernie_pipe.text.document import ROLES
from tests.tasks.toys import Labelled, Written

SENTENCES, TOKENS = 5, 20
RELEVANCE, DISCOURSE, SPOKEN = (
    role_bits(*names) for names in (("query", "title"), ("arg1", "arg2"), ("query", "response"))
)


def document(rng, passages=2):
    """Passages of sentences of random tokens: no two documents share more than chance."""
    return [rng.integers(10, 3000, (SENTENCES, TOKENS)).tolist() for _ in range(passages)]


def edited(rng, original, share):
    """A copy in which this share of the tokens is another one, and every third sentence is new."""
    copy = np.array(original)
    copy[rng.random(copy.shape) < share] = 5
    copy[:, ::3] = rng.integers(10, 3000, copy[:, ::3].shape)
    return copy.tolist()


def drawn(passages, anchor, keys, **options):
    """(passages, sentences) drawn for one anchor."""
    return other_sentences(passages, np.full(len(keys), anchor), keys, **options)


def drawn_documents(passages, anchor, repeats=400):
    found, _ = drawn(passages, anchor, draws.key(anchor, np.arange(repeats)))
    return passages.document[found[found >= 0]].tolist()


@pytest.mark.parametrize("share", [0.0, 0.05])
@pytest.mark.parametrize("length", [1, 3, 30])
def test_a_near_copy_of_the_document_is_never_drawn(share, length):
    rng = np.random.default_rng(0)
    original = document(rng, length)
    passages = Written([original, edited(rng, original, share), *(document(rng, length) for _ in range(4))])
    for anchor in (0, length, 2 * length - 1):
        found = drawn_documents(passages, anchor)
        assert set(found) == {2, 3, 4, 5}
        assert len(found) == 400


def test_a_stock_sentence_of_the_document_is_never_drawn():
    rng = np.random.default_rng(0)
    stock = rng.integers(10, 3000, TOKENS).tolist()
    documents = [document(rng) for _ in range(4)]
    for made in documents:
        made[0][2] = stock
    passages = Written(documents)
    found = list(zip(*drawn(passages, 0, draws.key(np.arange(500))), strict=True))
    assert len(set(found)) > 20
    assert not [place for place in found if sentence(passages, *place)[0].tolist() == stock]


def test_where_all_others_are_copies_none_is_drawn():
    rng = np.random.default_rng(0)
    original = document(rng)
    assert drawn_documents(Written([original, edited(rng, original, 0.05), original]), 0) == []
    assert drawn_documents(Written([original]), 0) == []


def test_every_passage_of_another_document_is_equally_likely():
    passages = Labelled.random(12)
    mine = passages.document == passages.document[5]
    counts = np.bincount(drawn(passages, 5, draws.key(np.arange(4000)))[0], minlength=len(passages))
    assert counts[mine].sum() == 0
    expected = 4000 / (~mine).sum()
    # Chi-square of some 20 degrees of freedom: above 50 once in some thousands.
    assert ((counts[~mine] - expected) ** 2 / expected).sum() < 50


def test_inner_sentences_begin_no_passage():
    passages = Labelled.random(12)
    found, numbers = drawn(passages, 5, draws.key(np.arange(500)), inner=True)
    assert numbers.min() == 1
    assert (numbers < passages.sentences[found]).all()


def of_kinds(count=120, talk=30):
    """One document in `talk` is a talk, half of the others are pairs of a query and a title; one passage each."""
    passages = Labelled([[[9, 9]]] * count)
    passages.roles = np.where(np.arange(count) % talk == 0, SPOKEN, np.where(np.arange(count) % 2, RELEVANCE, 0))
    return passages


@pytest.mark.parametrize("anchor", [0, 4])
def test_a_negative_is_talk_or_text_as_its_anchor_and_no_pair(anchor):
    passages = of_kinds()
    found, _ = drawn(passages, anchor, draws.key(np.arange(300)))
    assert (passages.roles[found] == passages.roles[anchor]).all()
    assert (found >= 0).all()


def test_where_there_is_no_other_of_its_kind_there_is_no_negative():
    assert (drawn(of_kinds(talk=120), 0, draws.key(np.arange(20)))[0] == -1).all()


@pytest.mark.parametrize("name", ["next_sentence", "sentence_order", "sentence_distance", "sentence_reordering"])
def test_pairs_with_a_label_serve_no_task_on_sentences(name):
    passages = Labelled([[[9, 9, 9, 9]]] * 5)
    passages.roles = np.array([0, RELEVANCE, DISCOURSE, SPOKEN, 1 << ROLES.index("query")], np.uint8)
    task = find(name)(find(name).Settings())
    assert task.eligible(passages).tolist() == is_running(passages).tolist() == [True, False, False, True, True]


@given(st.integers(1, 400), st.floats(0, 1, exclude_max=True))
def test_a_cut_leaves_a_token_and_takes_one_where_it_can(length, number):
    left = cut_somewhere(length, number)
    assert max(1, length - 16, length - 1 - length // 4) <= left <= max(1, length - 1)


@given(st.integers(0, 2), st.integers(1, 60))
def test_a_span_goes_on_through_the_document_and_no_further(number, length):
    passages = Labelled([[[3, 4, 5], [6, 2]], [[9, 9]]])
    ids, bits = from_sentence(passages, 0, number, length, end=2)
    start = [0, 3, 7][number]
    assert ids.tolist() == list(range(start, min(start + length, 20)))
    assert len(bits) == len(ids)


def test_runs_find_what_is_shared():
    text = np.arange(100, 200, dtype=np.uint16)
    assert repeats(text, text[40:60])
    assert repeats(text, text[7:9])
    assert not repeats(text, text[::-1])
    assert not repeats(text, np.array([150, 1, 152], np.uint16))
    assert not repeats(text, text[:0])
    assert not repeats(text[:0], text)


tokens = st.lists(st.integers(1, 4), min_size=1, max_size=9)


@given(st.lists(st.lists(tokens, min_size=1, max_size=3), min_size=2, max_size=5))
def test_a_drawn_sentence_repeats_nothing_whatever_was_drawn_beside_it(written):
    passages = Written([[document] for document in written])
    anchors = np.repeat(np.arange(len(written)), 4)
    for anchor, place, number in zip(anchors, *other_sentences(passages, anchors, draws.key(anchors)), strict=True):
        if place >= 0:
            own, ids = passages.get(anchor)[0], passages.get(place)[0]
            assert not repeats(own, ids)
            assert not repeats(own, sentence(passages, place, number)[0])
