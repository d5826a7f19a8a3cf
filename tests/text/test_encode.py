"""Text → ids: what transformers' tokenizer gives."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from transformers import BertTokenizer

from ernie_pipe.errors import InputError
from ernie_pipe.text import vocabulary
from ernie_pipe.text.encode import SPECIAL_TOKENS, Encoder, load_encoder
from ernie_pipe.text.spans import Joined

SINGLE = "哈尔滨是黑龙江的省会他说冰雪，。“”abcdefgABé1230!.-[]가カ\u1100\u1161\u30ab"
PIECES = ["##a", "##b", "##c", "##2", "##3", "ab", "##bc", "mask", "##k", "cafe", "café", "A", "哈尔", "##尔", "##ᅡ"]
TOKENS = list(dict.fromkeys([*SPECIAL_TOKENS, *SINGLE, *PIECES]))
CHUNKS = [
    *SINGLE, "[MASK]", "[SEP]", "[PAD]", "mask", "café", "ABC", "Ａｂ１２", "１２", "😀", "👨\u200d👩", "e\u0301",
    "\u0301", "가나", "각", "カタ", "が", "\u3099", "\u200b", "\u200d", "\ufeff", "\x00", "\x7f", "\ufffd", " ", "\n",
    "\t", "\r", "\xa0", "\u3000", "\u2028", "≠", "İ", "ß", "Σ", "ﬁ", "㍿", "豈", "\U0002f800", "\U0002a6e0", "〇", "々",
    "\u2e4f", "\u2e43", "a" * 101, "①", "\ue000", "\u0378", "\u0345",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(CHUNKS) | st.characters(exclude_categories=["Cs"]), max_size=25).map("".join)


@pytest.fixture(scope="module", params=[True, False], ids=["lower", "cased"])
def both(request):
    """Our encoder and transformers' tokenizer of the same vocabulary."""
    ids = {token: number for number, token in enumerate(TOKENS)}
    ours = Encoder(vocabulary.backend(ids, lowercase=request.param))
    return ours, BertTokenizer(vocab=ids, do_lower_case=request.param)


@pytest.fixture(scope="module")
def encoder():
    return Encoder(vocabulary.backend({token: number for number, token in enumerate(TOKENS)}, lowercase=True))


def reference(tokenizer, text):
    found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, split_special_tokens=True)
    return found["input_ids"], [tuple(pair) for pair in found["offset_mapping"]]


def as_lists(encoding):
    return encoding.ids.tolist(), list(zip(encoding.starts.tolist(), encoding.ends.tolist(), strict=True))


@given(TEXTS)
@example("哈尔滨[MASK]是café，１２가。")
@example("a\u2e4fb")
def test_ids_and_offsets_are_those_of_transformers(both, text):
    ours, theirs = both
    assert as_lists(ours.encode(text)) == reference(theirs, text)


def test_every_character_of_the_table_stands_alone_in_transformers_too(both):
    ours, theirs = both
    codes = np.flatnonzero(ours._table != -1)
    assert len(codes) > 70_000
    for first in range(0, len(codes), 1000):
        text = "a" + "a".join(map(chr, codes[first : first + 1000].tolist())) + "a"
        assert as_lists(ours.encode(text)) == reference(theirs, text)


def test_offsets_are_the_tokens_own_text(encoder):
    text = "哈 café，\n[MASK]是ABC。"
    encoding = encoder.encode(text)
    shown = [text[start:end] for start, end in zip(encoding.starts, encoding.ends, strict=True)]
    assert shown == ["哈", "café", "，", "[", "MASK", "]", "是", "AB", "C", "。"]
    assert encoder.vocab["[MASK]"] not in encoding.ids


def test_an_added_token_is_found_as_transformers_does():
    backend = vocabulary.backend({token: number for number, token in enumerate(TOKENS)}, lowercase=True)
    backend.add_tokens(["哈尔滨"])
    encoder = Encoder(backend)
    found = [encoder.vocab[token] for token in ("[", "mask", "]", "。")]
    assert encoder.encode("在哈尔滨[MASK]。").ids.tolist() == [1, len(TOKENS), *found]


def test_fingerprints_tell_vocabularies_apart(encoder):
    def fingerprint(tokens, *, lowercase=True):
        return Encoder(vocabulary.backend({t: i for i, t in enumerate(tokens)}, lowercase=lowercase)).fingerprint

    assert fingerprint(TOKENS) == encoder.fingerprint
    assert len({fingerprint(TOKENS), fingerprint(TOKENS, lowercase=False), fingerprint(TOKENS[:-1])}) == 3


def test_a_folder_that_changed_is_read_again(tmp_path):
    for tokens in (TOKENS, TOKENS[:-1]):
        vocabulary.save(tokens, str(tmp_path), lowercase=True)
        assert load_encoder(str(tmp_path)).size == len(tokens)


def test_a_folder_without_tokenizer_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no tokenizer\.json there; make a tokenizer"):
        load_encoder(str(tmp_path))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="not a tokenizer"):
        load_encoder(str(tmp_path))


@given(st.lists(TEXTS, min_size=1, max_size=5))
@example(["a", "b", "", "café", "\n", "c"])
def test_many_texts_at_once_are_encoded_each_as_alone(both, texts):
    ours, _ = both
    joined = Joined(texts)
    together = ours.encode_joined(joined)
    alone = [ours.encode(text) for text in texts]
    assert together.ids.tolist() == [number for one in alone for number in one.ids.tolist()]
    starts = [start + shift for one, shift in zip(alone, joined.starts.tolist(), strict=True) for start in one.starts]
    assert together.starts.tolist() == starts


def test_many_texts_at_once_with_an_added_token():
    backend = vocabulary.backend({token: number for number, token in enumerate(TOKENS)}, lowercase=True)
    backend.add_tokens(["尔滨"])
    joined = Joined(["哈尔", "滨。", "", "尔滨"])
    encoding = Encoder(backend).encode_joined(joined)
    shown = [joined.text[start:end] for start, end in zip(encoding.starts, encoding.ends, strict=True)]
    assert shown == [*"哈尔滨。", "尔滨"]


def test_runs_are_known_again_and_forgotten(encoder, monkeypatch):
    monkeypatch.setattr("ernie_pipe.text.encode.MOST_KEPT", 4)
    for _ in range(3):
        encoding = encoder.encode("abc是ABC abc")
        assert [TOKENS[number] for number in encoding.ids] == ["ab", "##c", "是", "ab", "##c", "ab", "##c"]
        assert encoding.starts.tolist() == [0, 2, 3, 4, 6, 8, 10]
