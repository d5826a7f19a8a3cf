import pytest
import torch
from sentence_transformers.sentence_transformer import losses
from sentence_transformers.util import cos_sim
from torch import nn

from ernie_pipe.errors import InputError
from ernie_pipe.finetune import encoder
from ernie_pipe.finetune.embedder_model import Siamese, collate, fingerprint, load, make_loss, related
from tests.finetune.toys import build_encoder


@pytest.fixture
def sentences(encoder_folder):
    tokenizer = encoder.load_tokenizer(encoder_folder)
    return load(encoder_folder, tokenizer, pooling="mean", task_id=0).eval()


def features(*rows, label=0.0):
    return [{"input_ids": [list(ids) for ids in row], "labels": label} for row in rows]


def test_a_batch_is_padded_over_all_sentences():
    batch = collate(features(([2, 5, 3], [2, 3]), ([2, 3], [2, 6, 7, 3])), pad=0, whole=False)
    assert batch["input_ids"].shape == (2, 2, 4)
    assert batch["input_ids"][0].tolist() == [[2, 5, 3, 0], [2, 3, 0, 0]]
    assert batch["attention_mask"].sum(-1).tolist() == [[3, 2], [2, 4]]
    assert batch["labels"].dtype == torch.float32


@pytest.mark.parametrize("objective", ["classification", "cosine", "cosent", "ranking", "triplet"])
def test_one_pass_over_all_sentences_gives_the_stock_loss(sentences, objective):
    rows = [([2, 5, 6, 3], [2, 7, 3], [2, 9, 3]), ([2, 8, 3], [2, 10, 11, 12, 3], [2, 13, 3])]
    size = 3 if objective == "triplet" else 2
    batch = collate(features(*(row[:size] for row in rows), label=1.0), pad=0, whole=objective == "classification")
    torch.manual_seed(1)
    loss = make_loss(objective, width=32, classes=3, margin=1.0, scale=20.0)
    found = Siamese(sentences, loss)(**batch)["loss"]
    torch.manual_seed(1)
    stock = {
        "classification": lambda: losses.SoftmaxLoss(sentences, 32, 3),
        "cosine": lambda: losses.CosineSimilarityLoss(sentences),
        "cosent": lambda: losses.CoSENTLoss(sentences, scale=20.0),
        "ranking": lambda: losses.MultipleNegativesRankingLoss(sentences, scale=20.0),
        "triplet": lambda: losses.TripletLoss(sentences, triplet_margin=1.0),
    }[objective]()
    columns = [
        {"input_ids": batch["input_ids"][:, k], "attention_mask": batch["attention_mask"][:, k]} for k in range(size)
    ]
    assert torch.isclose(found, stock(columns, batch["labels"]), atol=1e-5)


def test_what_belongs_to_an_anchor_is_no_negative_of_it():
    anchors = torch.tensor([[1, 0], [2, 0], [1, 0]])
    positives = torch.tensor([[5, 0], [5, 0], [6, 0]])
    negatives = torch.tensor([[2, 0], [6, 0], [6, 0]])
    # 0 and 2 have one anchor, 0 and 1 one positive; the first negative is the anchor of 1, the others are what
    # belongs to 2.
    assert related([anchors, positives, negatives]).int().tolist() == [
        [0, 1, 1, 0, 0, 0],
        [1, 0, 0, 1, 0, 0],
        [1, 0, 0, 0, 1, 1],
    ]


def test_a_copy_of_the_positive_changes_no_loss():
    loss = make_loss("ranking", width=4, classes=0, margin=1.0, scale=20.0)
    torch.manual_seed(0)
    vectors = torch.randn(2, 3, 4)
    ids = [torch.tensor([[1], [2], [3]]), torch.tensor([[4], [5], [4]])]
    columns = [{"sentence_embedding": vectors[k], "ids": ids[k]} for k in range(2)]
    scores = 20 * cos_sim(vectors[0], vectors[1])
    scores[0, 2] = scores[2, 0] = -torch.inf
    assert torch.isclose(loss(columns, None), nn.functional.cross_entropy(scores, torch.arange(3)))


def test_the_fingerprint_knows_weights_and_limit(sentences, encoder_folder):
    tokenizer = encoder.load_tokenizer(encoder_folder)
    first = fingerprint(sentences, tokenizer)
    assert fingerprint(sentences, tokenizer) == first
    tokenizer.model_max_length = 9
    limited = fingerprint(sentences, tokenizer)
    with torch.no_grad():
        next(sentences.parameters())[0, 0] += 1
    assert len({first, limited, fingerprint(sentences, tokenizer)}) == 3


def test_folders_that_cannot_be_loaded_are_named(tmp_path, encoder_folder):
    tokenizer = encoder.load_tokenizer(encoder_folder)
    folder = build_encoder(tmp_path / "broken")
    (folder / "modules.json").write_text('[{"idx": 0, "name": "0", "path": "", "type": "no.such.Module"}]')
    with pytest.raises(InputError, match="broken: not loadable"):
        load(folder, tokenizer, pooling="mean", task_id=0)
