import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernie_pipe.cli import run
from ernie_pipe.errors import InputError
from ernie_pipe.finetune import semantic_search
from ernie_pipe.finetune.semantic_search import Index, nearest


@given(
    st.integers(1, 6),
    st.lists(st.tuples(st.integers(-2, 2), st.integers(-2, 2)), min_size=1, max_size=40),
    st.integers(1, 12),
    st.integers(1, 7),
)
def test_the_nearest_are_those_of_a_full_sort_with_equal_ones_in_order(queries, rows, top, block):
    corpus = np.array(rows, dtype=np.float32)
    asked = np.random.default_rng(queries).integers(-2, 3, (queries, 2)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(semantic_search, "_TEXTS", block)
        patch.setattr(semantic_search, "_QUERIES", 2)
        found = nearest(asked, corpus, top)
    for query, hits in zip(asked, found, strict=True):
        scores = corpus @ query
        expected = sorted(range(len(corpus)), key=lambda i: (-scores[i], i))[:top]
        assert hits == [(i, scores[i]) for i in expected]


class Counting:
    """Stands for an embedder: a text's vector is its length, and how often it was asked is counted."""

    folder = "model"

    def __init__(self, name="a"):
        self.name, self.encoded = name, 0

    def encode(self, texts):
        self.encoded += len(texts)
        return np.array([[1.0 / len(text), 0.0] for text in texts], dtype=np.float32)

    def fingerprint(self):
        return self.name


def test_blank_texts_are_left_out_counted_and_keep_their_number(said):
    index = Index.build(Counting(), ["一二", " ", "一"], name="corpus.txt")
    assert [hit["number"] for hit in index.search(np.array([[1.0, 0.0]], dtype=np.float32), 5)[0]] == [3, 1]
    assert "corpus.txt: 1 of 3 texts are blank" in said()
    with pytest.raises(InputError, match=r"corpus\.txt: no text to search in"):
        Index.build(Counting(), ["", " "], name="corpus.txt")


def test_an_index_is_used_again_for_the_same_model_and_texts_only(tmp_path, said):
    folder, first = tmp_path / "index", Counting()
    made = Index.build(first, ["一", "一二"], name="c", folder=folder)
    again = Index.build(first, ["一", "一二"], name="c", folder=folder)
    assert first.encoded == 2
    assert np.array_equal(made.vectors, again.vectors)
    Index.build(first, ["一", "一二三"], name="c", folder=folder)
    assert "of another corpus or model: made anew" in said()
    other = Counting("b")
    Index.build(other, ["一", "一二三"], name="c", folder=folder)
    assert (first.encoded, other.encoded) == (4, 2)


def test_an_index_goes_into_no_folder_that_is_something_else(tmp_path, write):
    write("mine/a.txt".replace("/", "_"), "好")
    with pytest.raises(InputError, match="is no earlier"):
        Index.build(Counting(), ["一"], name="c", folder=tmp_path)
    write("ernie_pipe.json", json.dumps({"schema": 1, "task": "tagger"}))
    with pytest.raises(InputError, match="holds a tagger, no search index"):
        Index.build(Counting(), ["一"], name="c", folder=tmp_path)


def test_the_command_prints_or_writes_what_is_nearest(embedder, tmp_path, write, capsys):
    embedder.save(tmp_path / "model")
    corpus = write("corpus.txt", "书很好\n\n他去北京\n书真好\n")
    common = ["search", "--model", str(tmp_path / "model"), "--corpus", str(corpus), "--top", "2"]
    assert run([*common, "--query", "书真好", "--index", str(tmp_path / "index")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["书真好", "  1.0000  4  书真好"]
    queries = write("queries.txt", "书真好\n他去北京\n")
    target = tmp_path / "found.jsonl"
    flags = ["--queries", str(queries), "--index", str(tmp_path / "index"), "--output", str(target)]
    assert run([*common, *flags]) == 0
    rows = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    assert [row["query"] for row in rows] == ["书真好", "他去北京"]
    assert rows[1]["found"][0] == {"score": pytest.approx(1, abs=1e-5), "number": 3, "text": "他去北京"}


def test_a_model_of_another_task_is_refused_with_the_command_to_run(tagger, encoder_folder, tmp_path, write):
    tagger.save(tmp_path / "tagger")
    flags = ["--corpus", str(write("corpus.txt", "好\n")), "--query", "好"]
    with pytest.raises(InputError, match="fine-tuned as tagger: run `ernie-pipe finetune embedder` first"):
        run(["search", "--model", str(tmp_path / "tagger"), *flags])
    with pytest.raises(InputError, match=r"not fine-tuned as embedder yet: .*`ernie-pipe finetune embedder`"):
        run(["search", "--model", str(encoder_folder), *flags])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--query", " "], "--query: query 1 is empty"),
        (["--query", "好", "--top", "0"], "--top 0"),
    ],
)
def test_wrong_questions_are_refused(flags, message, write):
    corpus = str(write("corpus.txt", "好\n"))
    with pytest.raises(InputError, match=message):
        run(["search", "--model", "none", "--corpus", corpus, *flags])
