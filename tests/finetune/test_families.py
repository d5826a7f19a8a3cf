"""Every head on encoders of other families than ERNIE: a plain BERT, and a RoBERTa with positions of its own."""

import json

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertTokenizer,
    RobertaConfig,
    RobertaForMaskedLM,
)

from ernie_pipe.finetune import HEADS, Classifier, head_class
from tests.finetune.toys import CHARACTERS, FAST, alike, choices, journeys, opinions, questions, verdicts

SHAPE = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
ROWS = {
    "classifier": opinions,
    "pair": verdicts,
    "tagger": journeys,
    "reader": questions,
    "embedder": alike,
    "choice": choices,
}
INPUTS = {
    "classifier": ["书很坏。" * n for n in (1, 3, 9)],
    "pair": [("书真好。", "书很坏。"), ("菜" * 40, "菜好极了。")],
    "tagger": ["她去过上海。" * n for n in (1, 9)],
    "reader": [{"question": "在书", "context": "她去过上海。" * n} for n in (1, 9)],
    "embedder": ["书很好", "菜" * 50],
    "choice": [{"context": "她住。" * n, "question": "在", "choices": ["喜欢", "上海"]} for n in (1, 12)],
}


def build(folder, family):
    # RoBERTa has its padding at 1, so that its positions begin at 2.
    first = ["[PAD]", "[UNK]"] if family == "bert" else ["[UNK]", "[PAD]"]
    vocab = [*first, "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(CHARACTERS)]
    torch.manual_seed(0)
    if family == "bert":
        model = BertForMaskedLM(BertConfig(vocab_size=len(vocab), max_position_embeddings=32, **SHAPE))
    else:
        own = {"pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 3, "type_vocab_size": 1}
        model = RobertaForMaskedLM(RobertaConfig(vocab_size=len(vocab), max_position_embeddings=34, **own, **SHAPE))
    tokenizer = BertTokenizer(vocab={token: i for i, token in enumerate(vocab)})
    # A RoBERTa has one segment, of which its tokenizer knows nothing.
    assert len(tokenizer("a", "a")["token_type_ids"]) == 5
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["bert", "roberta"])
def family_folder(request, tmp_path_factory):
    return build(tmp_path_factory.mktemp(request.param), request.param)


@pytest.mark.parametrize("task", HEADS)
def test_every_head_fits_saves_and_answers_the_same(family_folder, task, tmp_path):
    head = head_class(task).from_pretrained(family_folder, **FAST | {"max_tokens": 64, "epochs": 1})
    rows = ROWS[task]()
    head.fit(rows, dev=rows)
    # As many as the model has positions, with texts that need all of them.
    assert head.settings.max_tokens == 32
    answers = head.predict(INPUTS[task])
    head.save(tmp_path / "out")
    assert type(head).from_pretrained(tmp_path / "out").predict(INPUTS[task]) == answers
    assert json.loads((tmp_path / "out" / "ernie_pipe.json").read_text(encoding="utf-8"))["task"] == task


def test_padding_is_left_out_of_what_other_families_see(family_folder, tmp_path):
    head = Classifier.from_pretrained(family_folder, **FAST | {"epochs": 1})
    head.fit(opinions())
    head.save(tmp_path / "out")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    for text, answer in zip(INPUTS["classifier"][:2], head.predict(INPUTS["classifier"][:2]), strict=True):
        with torch.inference_mode():
            shares = model(**tokenizer(text, return_tensors="pt")).logits.softmax(-1)[0]
        assert answer["score"] == pytest.approx(float(shares.max()), abs=1e-5)
