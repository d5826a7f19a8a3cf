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
    shape["max_position_embeddings"] = 40
    config = ErnieConfig(
        vocab_size=len(vocab),
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


def questions() -> list[dict]:
    rows = []
    for row in journeys():
        (entity,) = row["entities"]
        answer = {"text": row["text"][entity["start"] : entity["end"]], "answer_start": entity["start"]}
        rows.append({"question": "在书", "context": row["text"], "answers": [answer]})
    return rows


def choices() -> list[dict]:
    """Two to four choices, of which the place is right."""
    rows, wrong = [], ["糟糕", "喜欢", "房间"]
    for number, row in enumerate(journeys()):
        place = row["text"][row["entities"][0]["start"] :].rstrip("。")
        given = wrong[: 1 + number % 3]
        given.insert(number % 2, place)
        rows.append({"context": row["text"][:2] + "。", "question": "在", "choices": given, "answer": place})
    return rows


def verdicts() -> list[dict]:
    """Pairs whose label is the second text's: a model must tell which one that is."""
    rows, good, bad = [], ["好极了", "真好"], ["糟糕", "很坏"]
    for thing in ("书", "菜", "房间", "服务"):
        for one, other in zip(good, bad, strict=True):
            for first, second, label in [(one, other, "bad"), (other, one, "good")]:
                rows.append({"text_a": f"{thing}{first}。", "text_b": f"{thing}{second}。", "label": label})
    return rows


def alike() -> list[dict]:
    """Pairs of sentences of three groups: 1 within a group, 0 across."""
    groups = [
        ["书好极了", "书很好", "书真好"],
        ["他去北京", "他去过北京", "她去北京"],
        ["菜糟糕", "菜坏极了", "菜很坏"],
    ]
    return [
        {"text_a": first, "text_b": second, "label": int(one is other)}
        for one in groups
        for other in groups
        for first in one
        for second in other
        if first != second
    ]
