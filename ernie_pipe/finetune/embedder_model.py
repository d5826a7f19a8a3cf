"""Models of sentence vectors: a sentence-transformers model, its losses, and the modules that train and run it.

In: a transformers folder or one that SentenceTransformer wrote. Shapes: B examples, K sentences in each (2 or 3), T
tokens, H width of a vector.
"""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer import losses
from sentence_transformers.sentence_transformer.losses import TripletDistanceMetric
from sentence_transformers.sentence_transformer.modules import Pooling
from sentence_transformers.util import cos_sim
from torch import Tensor, nn

from ernie_pipe.errors import InputError
from ernie_pipe.finetune import encoder, inference

log = logging.getLogger(__name__)

CARD = """---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
language: zh
---

Sentence vectors, fine-tuned by ernie_pipe: see `ernie_pipe.json` for data, settings and scores.

    from sentence_transformers import SentenceTransformer
    vectors = SentenceTransformer("this folder").encode(["…"], normalize_embeddings=True)
"""


def is_one(folder: str | Path) -> bool:
    """Tell whether SentenceTransformer wrote this folder."""
    return (Path(folder) / "modules.json").is_file()


def load(folder: str | Path, tokenizer: Any, *, pooling: str, task_id: int) -> SentenceTransformer:
    """Return the model of a folder: all modules that stand in one of sentence vectors, else its encoder and `pooling`.

    The encoder uses row `task_id` of its task embedding. `InputError`: weights are missing, or the folder is of
    modules other than a transformer and what follows one.
    """
    base = encoder.load_encoder(folder, task_id)
    with encoder.quiet():
        try:
            if is_one(folder):
                model = SentenceTransformer(str(folder), device="cpu", local_files_only=True, trust_remote_code=False)
            else:
                local = {"local_files_only": True, "trust_remote_code": False}
                first = Transformer(str(folder), model_kwargs=local, processor_kwargs=local, config_kwargs=local)
                width = first.get_embedding_dimension()
                model = SentenceTransformer(modules=[first, Pooling(width, pooling)], device="cpu")
        except (OSError, ValueError, KeyError, ImportError, AttributeError) as error:
            raise InputError(f"{folder}: not loadable: {' '.join(str(error).split())[:300]}") from None
    first = model[0]
    if not isinstance(first, Transformer):
        raise InputError(f"{folder}: begins with a {type(first).__name__}: a transformer is needed to go on")
    # Checked, in float32 and on its task row; and the tokenizer that takes `[MASK]` in a text as text.
    first.model, first.processor = base.eval(), tokenizer
    model._model_card_text = CARD  # type: ignore[assignment]
    return model


def pooling_of(model: SentenceTransformer) -> str | None:
    """Return how token vectors become one, when a single way does."""
    modes = [module.pooling_mode for module in model if isinstance(module, Pooling)]
    return modes[0] if len(modes) == 1 and isinstance(modes[0], str) else None


def fingerprint(model: SentenceTransformer, tokenizer: Any) -> str:
    """Return a hash of everything that decides a vector: weights, modules, tokenizer and its limit."""
    digest = hashlib.sha256(repr([str(module) for module in model]).encode())
    digest.update(f"{tokenizer.backend_tokenizer.to_str()}{tokenizer.model_max_length}".encode("utf-8", "replace"))
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


class Vectors(nn.Module):
    """A model of sentence vectors in the form that `inference.outputs` runs."""

    def __init__(self, sentences: SentenceTransformer) -> None:
        super().__init__()
        self.sentences = sentences
        self.train(sentences.training)

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        return self.sentences.device

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **others: Tensor) -> dict[str, Tensor]:
        """Return `vector` [B, H], of length 1, for token ids [B, T]."""
        features = {"input_ids": input_ids, "attention_mask": attention_mask}
        return {"vector": nn.functional.normalize(self.sentences(features)["sentence_embedding"].float(), dim=-1)}


def encode(
    sentences: SentenceTransformer, tokenizer: Any, texts: Sequence[str], limit: int, batch_size: int
) -> tuple[np.ndarray, int]:
    """Return the vectors of texts [texts, H], float32 of length 1, and how many texts were cut to `limit` tokens."""
    module: Any = Vectors(sentences)
    vectors = np.zeros((len(texts), sentences.get_embedding_dimension() or 0), dtype=np.float32)
    done = cut = 0
    for some in encoder.chunks(texts):
        inputs, longer = encoder.single_inputs(tokenizer, some, limit)
        cut += longer
        found = inference.outputs(module, tokenizer, inputs, batch_size, names=("vector",))
        vectors[done : done + len(some)] = [item["vector"] for item in found]
        done += len(some)
    return vectors, cut


class Siamese(nn.Module):
    """A model of sentence vectors under a loss: what is trained.

    All sentences of a batch go through the encoder in one pass; the loss gets their vectors.
    """

    base_model_prefix = "sentences.0.model"

    def __init__(self, sentences: SentenceTransformer, loss: nn.Module) -> None:
        super().__init__()
        self.sentences = sentences
        self.loss = loss

    @property
    def config(self) -> Any:
        """The encoder's config."""
        return self.sentences.config

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        return self.sentences.device

    def get_input_embeddings(self) -> Any:
        """Return the encoder's embeddings of tokens."""
        model: Any = self.sentences.transformers_model
        return model.get_input_embeddings()

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the loss for ids [B, K, T] and targets [B]."""
        features = {"input_ids": input_ids.flatten(0, 1), "attention_mask": attention_mask.flatten(0, 1)}
        vectors = self.sentences(features)["sentence_embedding"].unflatten(0, input_ids.shape[:2])
        columns = [{"sentence_embedding": vectors[:, k], "ids": input_ids[:, k]} for k in range(input_ids.shape[1])]
        return {"loss": self.loss(columns, labels)}


class _Computed(nn.Module):
    """Stands for the model in sentence-transformers' losses: the vectors are in the features already."""

    device = torch.device("cpu")

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return features


class InBatchNegatives(losses.MultipleNegativesRankingLoss):
    """In-batch negatives, but a sentence that belongs to the anchor is no negative of it.

    Such are copies of it and of its own positive, and the positives of equal anchors: without care for them a model
    is punished for what is right (Henderson et al. 2017, arXiv 1705.00652, §4.4, for the loss itself).
    """

    def forward(self, sentence_features: Any, labels: Tensor) -> Tensor:
        """Return the loss for columns of vectors [B, H] and `ids` [B, T] in `sentence_features`."""
        columns = list(sentence_features)
        twins = related([column["ids"] for column in columns])
        self.similarity_fct = lambda anchors, others: cos_sim(anchors, others).masked_fill(twins, -torch.inf)
        return super().forward([{"sentence_embedding": column["sentence_embedding"]} for column in columns], labels)


def related(ids: Sequence[Tensor]) -> Tensor:
    """Tell which candidates [B, (K - 1) B] are no negatives of an anchor, its own positive not counted among them.

    `ids` are K tensors [B, T] padded alike: anchors, positives and, where there are, negatives.
    """
    anchors, positives = ids[0], ids[1]
    own = torch.eye(len(anchors), dtype=torch.bool, device=anchors.device)
    same_anchor = _same(anchors, anchors)
    found = [_same(positives, candidates) | _same(anchors, candidates) for candidates in ids[1:]]
    found[0] = (found[0] | same_anchor) & ~own
    return torch.cat(found, dim=1)


def _same(one: Tensor, other: Tensor) -> Tensor:
    return (one[:, None] == other[None]).all(dim=-1)


def make_loss(objective: str, *, width: int, classes: int, margin: float, scale: float) -> nn.Module:
    """Return the loss of an objective; a classifier over (u, v, |u - v|) has new weights from torch's seed.

    Reimers and Gurevych 2019 (arXiv 1908.10084), §3, for classification, cosine and triplet; Huang et al. 2024 (CoSENT,
    doi 10.1109/TASLP.2024.3402087) for the order of all pairs of a batch by their cosines.
    """
    computed: Any = _Computed()
    if objective == "classification":
        return losses.SoftmaxLoss(computed, width, classes)
    if objective == "cosine":
        return losses.CosineSimilarityLoss(computed)
    if objective == "cosent":
        return losses.CoSENTLoss(computed, scale)
    if objective == "triplet":
        return losses.TripletLoss(computed, TripletDistanceMetric.EUCLIDEAN, margin)
    return InBatchNegatives(computed, scale)


def collate(features: Sequence[dict], *, pad: int, whole: bool) -> dict[str, Tensor]:
    """Pad `input_ids`, K lists a feature, to [B, K, T]; `labels` [B] are ids where `whole`, else numbers."""
    sentences = [ids for item in features for ids in item["input_ids"]]
    width = max(map(len, sentences))
    shape = (len(features), len(features[0]["input_ids"]), width)
    padded = torch.tensor([[*ids, *[pad] * (width - len(ids))] for ids in sentences])
    lengths = torch.tensor([len(ids) for ids in sentences])
    labels = torch.tensor([item["labels"] for item in features], dtype=torch.long if whole else torch.float32)
    mask = (torch.arange(width)[None] < lengths[:, None]).long()
    return {"input_ids": padded.view(shape), "attention_mask": mask.view(shape), "labels": labels}
