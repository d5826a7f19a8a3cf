import numpy as np
import pytest

from ernie_pipe import draws, resources
from ernie_pipe.errors import InputError
from ernie_pipe.masking import LENGTHS, MaskingRule, similar
from ernie_pipe.masking.similar import SimilarWords, hash_words
from ernie_pipe.text.encode import load_encoder
from ernie_pipe.text.passages import WORD_START
from tests.masking.building import REPLACEMENTS, batch
from tests.pretrain.building import sample_texts, write_tokenizer

TABLE = "# our own\n城市\t都市\t乡村\t大都市\n\n首都\t京城\n大\t巨\n湖\t大湖\n"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    texts = ["城市都市乡村大首都京城巨湖 machine machines", *sample_texts(40)]
    return load_encoder(str(write_tokenizer(tmp_path_factory.mktemp("tokenizer"), texts)))


def stand_ins(table: SimilarWords, encoder, word: str, seed: int = 0) -> str | None:
    ids = encoder.encode(word).ids
    changed, found = table.stand_ins(ids, np.zeros(1, int), np.array([len(ids)]), draws.key(seed, np.arange(1)))
    names = {number: token for token, number in encoder.vocab.items()}
    return "".join(names[number] for number in changed.tolist()) if found[0] else None


def test_words_get_similar_ones_of_as_many_tokens(write, encoder):
    table = similar.load(str(write("t.tsv", TABLE)), encoder)
    drawn = [stand_ins(table, encoder, "城市", seed) for seed in range(200)]
    assert {*drawn} == {"都市", "乡村"}, "大都市 is longer"
    assert 60 < drawn.count("都市") < 140
    assert stand_ins(table, encoder, "大") == "巨"
    assert stand_ins(table, encoder, "湖") is None
    assert stand_ins(table, encoder, "都市") is None, "a similar word is no word of the table"


def test_many_words_are_looked_up_at_once(write, encoder):
    table = similar.load(str(write("t.tsv", TABLE)), encoder)
    ids = encoder.encode("大湖首都大").ids
    first, sizes = np.array([0, 1, 2, 4]), np.array([1, 1, 2, 1])
    changed, found = table.stand_ins(ids, first, sizes, draws.key(np.arange(4)))
    assert found.tolist() == [True, False, True, True]
    assert changed.tolist() == encoder.encode("巨湖京城巨").ids.tolist()


def test_what_is_left_out_is_said(write, encoder, caplog):
    caplog.set_level("INFO", logger="ernie_pipe.masking.similar")
    content = "城市\t都市\t大都市\n城市\t乡村\n湖\t大湖\n首都\t㍿㍿\n大\t大\n"
    table = similar.load(str(write("t.tsv", content)), encoder)
    assert "1 of 5 words have similar ones of as many tokens (1 of 6); 1 are given more than once" in caplog.text
    assert stand_ins(table, encoder, "城市") == "都市"
    assert stand_ins(table, encoder, "首都") is None, "no [UNK] stands for a word"
    assert stand_ins(table, encoder, "大") is None, "no word stands for itself"


def test_a_table_of_many_chunks_is_as_of_one(write, encoder, monkeypatch):
    path = str(write("t.tsv", TABLE))
    whole = similar._read(path, encoder)
    monkeypatch.setattr(similar, "_LINES", 1)
    parts = similar._read(path, encoder)
    for name in ("hashes", "first", "counts", "ids"):
        assert np.array_equal(getattr(whole, name), getattr(parts, name))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "城市\t都市\n首都 京城\n",
            "line 2: expected a word and its similar words with tabs between, found '首都 京城'",
        ),
        ("城市\t都市\n\n首都\t\t京城\n", "line 3: expected"),
        ("\t都市\n", "line 1: expected"),
        ("# nothing\n", "holds no words"),
        ("湖\t大湖\n", "no word of it has a similar one of as many tokens"),
        ("城市\t都市\n".encode("gb18030"), "line 1: not UTF-8"),
        (None, "no such file"),
    ],
)
def test_a_wrong_table_is_refused_with_its_line(tmp_path, write, encoder, content, message):
    path = tmp_path / "none.tsv" if content is None else write("t.tsv", content)
    with pytest.raises(InputError, match=message) as error:
        similar.load(str(path), encoder)
    assert str(error.value).startswith(str(path))


def test_a_table_that_changed_since_is_refused(write, encoder):
    path = write("t.tsv", TABLE)
    recorded = similar.file_hash(str(path))
    similar.load(str(path), encoder, recorded)
    path.write_text(TABLE + "小\t大\n", encoding="utf-8")
    with pytest.raises(InputError, match="is no longer the table that was recorded"):
        similar.load(str(path), encoder, recorded)


def test_the_hash_knows_ids_their_order_and_their_number():
    words = [[1], [1, 0], [0, 1], [1, 2], [2, 1], [2], [1, 2, 3], [1 << 20], [0]]
    sizes = np.array([len(word) for word in words])
    hashes = hash_words(np.concatenate(words), np.cumsum(sizes) - sizes, sizes)
    assert len(set(hashes.tolist())) == len(words)
    assert hash_words(np.array([7, 1, 2]), np.array([1]), np.array([2]))[0] == hashes[3]


def table_of(pairs: dict[tuple[int, ...], tuple[int, ...]]) -> SimilarWords:
    sizes = np.array([len(word) for word in pairs])
    hashes = hash_words(np.concatenate([*pairs]), np.cumsum(sizes) - sizes, sizes)
    order = np.argsort(hashes)
    first = (np.cumsum(sizes) - sizes)[order]
    return SimilarWords(hashes[order], first, np.ones(len(sizes), np.int32), np.concatenate([*pairs.values()]))


@pytest.mark.parametrize("name", LENGTHS)
def test_each_word_that_would_be_masked_is_replaced_or_counted_as_a_fallback(name):
    made = batch(128, 400)
    # Words of one token below 250 have a similar one, far outside of what is drawn at random.
    table = table_of({(number,): (number + 1000,) for number in range(5, 250)})
    masked = made.mask(MaskingRule({"word": 1.0}, lengths=LENGTHS[name], similar=table))
    at = masked.positions
    word = np.cumsum((made.bits & WORD_START) > 0)[at]
    _, number, sizes = np.unique(word, return_inverse=True, return_counts=True)
    has = (sizes[number] == 1) & (masked.labels < 250)
    seen = masked.input_ids[at]
    replaced = seen == masked.labels + 1000
    assert has[replaced].all()
    assert replaced[has].mean() == pytest.approx(0.8, abs=0.03)
    assert np.isin(seen[~replaced], REPLACEMENTS).all(), "no [MASK] is left"
    assert (seen == masked.labels)[~has].mean() == pytest.approx(0.1, abs=0.03)
    assert masked.words - masked.fallbacks == replaced.sum()
    assert masked.words == pytest.approx(0.8 * len(sizes), rel=0.05)


def test_the_sample_table_can_be_read(encoder):
    table = similar.load(str(resources.sample() / "similar.tsv"), encoder)
    assert len(table.hashes) >= 25
