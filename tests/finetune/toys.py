"""A tiny random encoder and a handful of sentences, small enough to learn in a second."""

from pathlib import Path

import torch
from transformers import BertTokenizer, ErnieConfig, ErnieForMaskedLM

CHARACTERS = "他她在北京上海哈尔滨出生住去过的是好坏极了真很书菜房间服务买喜欢糟糕，。！"
FAST = {"epochs": 12, "learning_rate": 1e-2, "batch_size": 8, "max_tokens": 32, "device": "cpu"}


def build_encoder(folder: Path, *, seed: int = 0, **changes) -> Path:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    latin = "abcdefghijklmnopqrstuvwxyz0123456789[]"
    vocab = dict.fromkeys([*special, *CHARACTERS, *latin, *(f"##{c}" for c in latin), "mask", "ᄒ", "##ᅡ", "##ᆫ"])
    tokenizer = BertTokenizer(vocab={token: i for i, token in enumerate(vocab)})
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = ErnieConfig(
        vocab_size=len(vocab),
        max_position_embeddings=40,
        use_task_id=True,
        task_type_vocab_size=4,
        **{**shape, **changes},
    )
    torch.manual_seed(seed)
    model = ErnieForMaskedLM(config)
    with torch.no_grad():
        # Rows as far apart as training makes them, so that using the wrong one shows.
        model.ernie.embeddings.task_type_embeddings.weight.normal_(std=0.1)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def opinions() -> list[dict]:
    good, bad = ["好极了", "很喜欢", "真好"], ["糟糕", "坏极了", "很坏"]
    things = ["书", "菜", "房间", "服务"]
    rows = [{"text": f"{thing}{word}。", "label": "good"} for thing in things for word in good]
    return rows + [{"text": f"{thing}{word}。", "label": "bad"} for thing in things for word in bad]


def journeys() -> list[dict]:
    rows = []
    for who in "他她":
        for verb in ("出生在", "去过", "住在"):
            for place in ("北京", "上海", "哈尔滨"):
                text = f"{who}{verb}{place}。"
                start = text.index(place)
                entity = {"start": start, "end": start + len(place), "type": "LOC"}
                rows.append({"text": text, "entities": [entity]})
    return rows
