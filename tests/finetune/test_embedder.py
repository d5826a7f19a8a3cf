import json

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoModel

from ernie_pipe.errors import InputError
from ernie_pipe.finetune import Classifier, Embedder, embedder_model
from ernie_pipe.finetune.commands import finetune, open_head, predict
from tests.finetune.toys import FAST, alike, opinions

TEXTS = ["书很好", "他去北京。", "[MASK]好", "菜" * 60, "Ａ😀é\ud800", "他 去  北京"]
ONE = FAST | {"epochs": 1}
GRADED = [{**row, "score": 5 * row["label"], "label": None} for row in alike()]
GRADED = [{key: value for key, value in row.items() if key != "label"} for row in GRADED]
NLI = [{**row, "label": "entailment" if row["label"] else "contradiction"} for row in alike()]
PAIRS = [{"anchor": row["text_a"], "positive": row["text_b"]} for row in alike() if row["label"]]
TRIPLETS = [{**row, "negative": "菜" if "书" in row["anchor"] else "书"} for row in PAIRS]


def test_it_learns_which_sentences_are_alike(embedder):
    assert embedder.metrics["dev"]["accuracy"] == 1.0
    alike_, apart = embedder.predict([("书很好", "书真好"), ("书很好", "菜很坏")])
    assert (alike_["label"], apart["label"]) == ("1", "0")
    assert -1 <= apart["score"] < alike_["score"] <= 1 + 1e-6
    assert embedder.predict([]) == []


@pytest.mark.parametrize(
    ("rows", "objective", "metric"),
    [
        (GRADED, "cosine", "spearman"),
        (GRADED, "cosent", "spearman"),
        (NLI, "classification", "spearman"),
        (PAIRS, "ranking", "mrr"),
        (TRIPLETS, "triplet", "accuracy"),
        (TRIPLETS, "ranking", "accuracy"),
    ],
)
def test_every_objective_teaches(encoder_folder, rows, objective, metric, said):
    head = Embedder.from_pretrained(encoder_folder, **FAST | {"epochs": 4}, objective=objective)
    head.fit(rows)
    before = Embedder.from_pretrained(encoder_folder, **ONE | {"learning_rate": 1e-12}, objective=objective)
    before.fit(rows)
    assert f"objective: {objective}" in said()
    assert head.evaluate(rows)[metric] >= before.evaluate(rows)[metric]
    assert head.evaluate(rows)[metric] > 0.74


def test_vectors_are_those_of_sentence_transformers_and_of_the_saved_folder(embedder, tmp_path):
    embedder.save(tmp_path / "out", command="ernie-pipe finetune")
    vectors = embedder.encode(TEXTS)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert np.array_equal(Embedder.from_pretrained(tmp_path / "out").encode(TEXTS), vectors)
    stock = SentenceTransformer(str(tmp_path / "out"), device="cpu", local_files_only=True)
    # A lone surrogate is ours to replace: no tokenizer takes it.
    texts = [text.replace("\ud800", "\ufffd") for text in TEXTS]
    for model in (stock, embedder.model):
        assert np.allclose(model.encode(texts, normalize_embeddings=True), vectors, atol=1e-5)


def test_the_transformer_s_part_loads_by_itself(embedder, tmp_path):
    embedder.save(tmp_path / "out")
    model, info = AutoModel.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not info["missing_keys"]
    ids = embedder.tokenizer("书很好", return_tensors="pt")["input_ids"]
    mean = model(ids).last_hidden_state.mean(dim=1).detach().numpy()[0]
    assert np.allclose(mean / np.linalg.norm(mean), embedder.encode(["书很好"])[0], atol=1e-5)
    record = json.loads((tmp_path / "out" / "ernie_pipe.json").read_text(encoding="utf-8"))
    assert record["task"] == open_head(tmp_path / "out").task == "embedder"
    assert record["metrics"]["dev"]["accuracy"] == 1.0


def test_another_head_goes_on_from_it(embedder, tmp_path):
    embedder.save(tmp_path / "out")
    head = Classifier.from_pretrained(tmp_path / "out", **ONE | {"learning_rate": 1e-12})
    head.fit(opinions())
    wanted, found = (model.state_dict() for model in (embedder.model.transformers_model, head.model.base_model))
    assert torch.equal(found["embeddings.word_embeddings.weight"], wanted["embeddings.word_embeddings.weight"])


@pytest.mark.parametrize("pooling", ["cls", "max"])
def test_pooling_is_kept_by_the_folder(encoder_folder, tmp_path, pooling, said):
    head = Embedder.from_pretrained(encoder_folder, **ONE, pooling=pooling)
    head.fit(PAIRS)
    head.save(tmp_path / "out")
    assert embedder_model.pooling_of(SentenceTransformer(str(tmp_path / "out"), device="cpu")) == pooling
    other = Embedder.from_pretrained(tmp_path / "out", pooling="mean")
    assert f"pooling {pooling}, as the folder has it" in said()
    assert np.array_equal(other.encode(["书"]), head.encode(["书"]))


def test_the_task_row_is_used_and_recorded(encoder_folder, tmp_path):
    vectors = []
    for task_id in (0, 3):
        head = Embedder.from_pretrained(encoder_folder, **ONE | {"learning_rate": 1e-12, "task_id": task_id})
        head.fit(PAIRS)
        head.save(tmp_path / "out")
        vectors.append(head.encode(["书很好"]))
        assert json.loads((tmp_path / "out" / "ernie_pipe.json").read_text())["task_id"] == task_id
        assert np.array_equal(Embedder.from_pretrained(tmp_path / "out").encode(["书很好"]), vectors[-1])
    assert np.abs(vectors[0] - vectors[1]).max() > 0.01


def test_dev_may_be_of_another_kind_than_train(encoder_folder):
    head = Embedder.from_pretrained(encoder_folder, **ONE)
    result = head.fit(NLI, dev=GRADED, test=TRIPLETS)
    assert result["dev"].keys() == {"spearman", "pearson", "examples", "cut"}
    assert head.reports["dev"]["intervals"].keys() == {"spearman", "pearson"}
    assert head.labels == ["contradiction", "entailment"]
    assert result["test"]["examples"] == len(TRIPLETS)


def test_the_threshold_is_chosen_on_dev_and_kept(encoder_folder, tmp_path, said):
    head = Embedder.from_pretrained(encoder_folder, **ONE)
    few = [row for row in alike() if "书" in row["text_a"]]
    result = head.fit(alike(), dev=few, test=alike())
    assert result["test"]["threshold"] == result["dev"]["threshold"] == head.evaluate(alike())["threshold"]
    head.save(tmp_path / "out")
    loaded = Embedder.from_pretrained(tmp_path / "out")
    assert loaded.evaluate(alike())["threshold"] == result["dev"]["threshold"]
    assert "no threshold was chosen before" not in said()
    loaded.fit(GRADED)
    assert "label" not in loaded.predict([("书很好", "书真好")])[0]
    head.fit(alike())
    alone = head.evaluate(few)["threshold"]
    head.fit(alike(), dev=GRADED, test=alike())
    assert head.metrics["test"]["threshold"] == alone == head.evaluate(few)["threshold"]
    head.fit(GRADED)
    head.evaluate(alike())
    assert "no threshold was chosen before" in said()


def test_a_seed_decides_and_the_best_epoch_is_kept(encoder_folder):
    def fitted(seed):
        head = Embedder.from_pretrained(encoder_folder, **FAST | {"epochs": 3, "seed": seed})
        return head, head.fit(NLI, dev=GRADED)

    (one, first), (two, second), (other, _) = fitted(1), fitted(1), fitted(2)
    assert first == second
    assert np.array_equal(one.encode(["书"]), two.encode(["书"]))
    assert not np.array_equal(one.encode(["书"]), other.encode(["书"]))
    assert one.evaluate(GRADED) == first["dev"]


def test_long_texts_are_cut_counted_and_said(embedder, said):
    embedder.encode(["书" * 60, "好"])
    assert "1 of 2 texts are cut to 32 tokens" in said()
    assert embedder.evaluate([*alike(), {"text_a": "书" * 60, "text_b": "菜", "label": 0}])["cut"] == 1


def test_chunks_change_nothing(embedder, monkeypatch):
    texts = [row["text_a"] for row in alike()]
    whole = embedder.encode(texts)
    monkeypatch.setattr("ernie_pipe.finetune.encoder.CHUNK", 5)
    assert np.allclose(embedder.encode(texts), whole, atol=1e-6)
    assert embedder.encode([]).shape == (0, 32)


def test_search_finds_what_is_nearest(embedder, write, said):
    found = embedder.search(["书真好"], ["他去北京", "", "书真好", "书很好"], top=2)
    assert [(hit["number"], hit["text"]) for hit in found[0]] == [(3, "书真好"), (4, "书很好")]
    assert "corpus: 1 of 4 texts are blank" in said()
    (hits,) = embedder.search(["书真好"], write("corpus.txt", "他去北京\n书很好\n"), top=10)
    assert [hit["number"] for hit in hits] == [2, 1]


def test_the_commands_write_scores_or_vectors(encoder_folder, tmp_path, write, capsys):
    data = write("data.tsv", "".join("{text_a}\t{text_b}\t{label}\n".format(**row) for row in alike()))
    out = str(tmp_path / "out")
    argv = ["embedder", "--model", str(encoder_folder), "--train", str(data), "--dev", str(data), "--output", out]
    assert finetune([*argv, "--epochs", "2", "--learning-rate", "1e-2", "--set", "max_tokens=32"]) == 0
    assert "accuracy" in capsys.readouterr().out
    target = str(tmp_path / "a.jsonl")
    predict(["--model", out, "--input", str(write("pairs.tsv", "书很好\t书真好\n书很好\t \n")), "--output", target])
    pair, empty = (json.loads(line) for line in (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines())
    assert (pair["text"], pair["text_pair"], pair["label"]) == ("书很好", "书真好", "1")
    assert empty == {"text": "书很好", "text_pair": " "}
    predict(["--model", out, "--input", str(write("texts.txt", "书很好\n")), "--output", target])
    (row,) = (json.loads(line) for line in (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines())
    assert (row["text"], len(row["vector"])) == ("书很好", 32)


def test_wrong_uses_are_refused(embedder, encoder_folder):
    with pytest.raises(InputError, match="not fine-tuned as embedder yet: call fit"):
        Embedder.from_pretrained(encoder_folder).encode(["好"])
    with pytest.raises(InputError, match=r"texts\[1\]: empty"):
        embedder.encode(["好", " "])
    with pytest.raises(InputError, match="a list of pairs"):
        embedder.predict(["好", ("好", "坏")])
    with pytest.raises(InputError, match="`r_drop` is for heads that answer with a class"):
        Embedder.from_pretrained(encoder_folder, r_drop=1.0)
    with pytest.raises(InputError, match=r"train\[0\]: every label is `1`"):
        Embedder.from_pretrained(encoder_folder, **ONE).fit([row for row in alike() if row["label"]])
    with pytest.raises(InputError, match=r"dev\[0\]: label `x` says not how alike"):
        Embedder.from_pretrained(encoder_folder, **ONE).fit(alike(), dev=[{**alike()[0], "label": "x"}])


def test_several_seeds_keep_the_best_with_its_threshold(encoder_folder):
    head = Embedder.from_pretrained(encoder_folder, **FAST | {"epochs": 2})
    result = head.fit(alike(), dev=alike(), test=alike(), seeds=2)
    runs = result["seeds"]["runs"]
    assert [run["seed"] for run in runs] == [1, 2]
    assert runs[0]["dev"]["threshold"] != runs[1]["dev"]["threshold"]
    assert result["dev"]["accuracy"] == max(run["dev"]["accuracy"] for run in runs)
    assert head.evaluate(alike()) == result["dev"] == result["test"]
    assert result["seeds"]["dev"].keys() == {"accuracy", "f1", "spearman", "threshold"}


@pytest.mark.parametrize("change", [{"r_drop": 0.5}, {"label_smoothing": 0.1}, {"class_weights": "balanced"}])
def test_options_for_classes_are_refused(encoder_folder, change):
    with pytest.raises(InputError, match=f"Embedder: `{next(iter(change))}` is for heads that answer with a class"):
        Embedder.from_pretrained(encoder_folder, **change)


def test_vectors_become_lists_one_by_one(embedder):
    texts = [row["text_a"] for row in alike()]
    found = embedder.answers_of(texts)
    assert next(found) == embedder.predict(texts)[0]
