import json
import shutil

import pytest
import torch
from transformers import AutoModel, BertConfig, BertModel, BertTokenizer, GPT2Config, T5Config

from ernie_pipe.errors import InputError
from ernie_pipe.finetune.encoder import (
    encode,
    fold_task,
    load_config,
    load_tokenizer,
    new_model,
    single_inputs,
    special_ids,
    token_limit,
)
from tests.finetune.toys import build_encoder

TOKEN_HEAD = "AutoModelForTokenClassification"
LABELS = ["O", "B-LOC", "I-LOC"]


def pieces(tokenizer, text):
    (tokens,) = encode(tokenizer, [text])
    return [text[start:end] for start, end in tokens.offsets], tokens.leading


def test_a_folder_that_is_no_model_says_what_to_give(tmp_path):
    with pytest.raises(InputError, match=r"no config\.json: give a transformers folder.*ernie-pipe export"):
        load_config(tmp_path)
    with pytest.raises(InputError, match="none: no such folder: give a transformers folder"):
        load_config(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file: a file: give a transformers folder"):
        load_config(tmp_path / "file")


def test_a_folder_without_a_tokenizer_is_refused(encoder_folder, tmp_path):
    for name in ("config.json", "model.safetensors"):
        shutil.copy(encoder_folder / name, tmp_path)
    with pytest.raises(InputError, match="tokenizer"):
        load_tokenizer(tmp_path)


def test_a_folder_without_weights_is_refused(encoder_folder, tmp_path):
    shutil.copytree(encoder_folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(InputError, match="not loadable"):
        new_model(tmp_path, TOKEN_HEAD, LABELS, 0)


def test_damaged_weights_are_refused(encoder_folder, tmp_path):
    shutil.copytree(encoder_folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "model.safetensors").write_bytes(b"abc")
    with pytest.raises(InputError, match="not loadable"):
        new_model(tmp_path, TOKEN_HEAD, LABELS, 0)


def test_features_hold_one_object_for_each_id():
    # Python itself shares the numbers to 256 alone.
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{number}" for number in range(300))]
    tokenizer = BertTokenizer(vocab={word: i for i, word in enumerate(words)})
    (one, other), cut = single_inputs(tokenizer, ["w299 w299", "w299"], 8)
    assert cut == 0
    assert one["input_ids"][1] > 256
    assert one["input_ids"][1] is one["input_ids"][2] is other["input_ids"][1]


@pytest.mark.parametrize("config", [GPT2Config(), T5Config()])
def test_a_decoder_is_refused(config, tmp_path):
    config.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=f"a {config.model_type} is no encoder"):
        load_config(tmp_path)


def test_a_tokenizer_with_more_words_than_the_model_is_refused(encoder_folder, tmp_path):
    shutil.copytree(encoder_folder, tmp_path, dirs_exist_ok=True)
    tokenizer = load_tokenizer(tmp_path)
    rows = len(tokenizer)
    tokenizer.add_tokens(["新词"])
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=f"the tokenizer has ids to {rows}, the model rows for {rows}"):
        load_tokenizer(tmp_path)


def test_missing_encoder_weights_are_refused_not_drawn(encoder_folder, tmp_path):
    shutil.copytree(encoder_folder, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 2}))
    with pytest.raises(InputError, match=r"weights are missing or misshapen: 16, .*layer\.1"):
        new_model(tmp_path, TOKEN_HEAD, LABELS, 0)


def test_a_new_head_stands_on_the_folder_s_own_weights(encoder_folder, said):
    model = new_model(encoder_folder, "AutoModelForSequenceClassification", ["a", "b"], 0)
    expected = AutoModel.from_pretrained(encoder_folder).embeddings.word_embeddings.weight
    assert torch.equal(model.ernie.embeddings.word_embeddings.weight, expected)
    assert model.config.id2label == {0: "a", 1: "b"}
    assert "new weights, to be learnt: classifier, pooler" in said()


def test_the_task_row_changes_place_with_row_0(encoder_folder):
    plain = new_model(encoder_folder, TOKEN_HEAD, LABELS, 0).ernie.eval()
    folded = new_model(encoder_folder, TOKEN_HEAD, LABELS, 2).ernie.eval()
    ids = torch.tensor([[2, 7, 8, 9, 3]])
    with torch.no_grad():
        expected = plain(ids, task_type_ids=torch.full_like(ids, 2)).last_hidden_state
        assert torch.equal(folded(ids).last_hidden_state, expected)
        assert not torch.allclose(plain(ids).last_hidden_state, expected)
        assert torch.equal(
            folded(ids, task_type_ids=torch.full_like(ids, 2)).last_hidden_state, plain(ids).last_hidden_state
        )
    assert folded.config.finetune_task_id == 2


def test_folding_happens_once(encoder_folder):
    model = new_model(encoder_folder, TOKEN_HEAD, LABELS, 2)
    before = model.ernie.embeddings.task_type_embeddings.weight.clone()
    fold_task(model, 2, encoder_folder)
    assert torch.equal(model.ernie.embeddings.task_type_embeddings.weight, before)
    with pytest.raises(InputError, match="fine-tuned with task_id 2 before"):
        fold_task(model, 1, encoder_folder)


def test_a_row_that_is_not_there_is_refused(encoder_folder, tmp_path):
    with pytest.raises(InputError, match="task_id 4: the task embedding has rows 0 to 3"):
        new_model(encoder_folder, TOKEN_HEAD, LABELS, 4)
    shutil.copytree(encoder_folder, tmp_path, dirs_exist_ok=True)
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=90, **small)).save_pretrained(tmp_path)
    assert new_model(tmp_path, TOKEN_HEAD, LABELS, 0).config.model_type == "bert"
    with pytest.raises(InputError, match="no task embedding: leave task_id at 0"):
        new_model(tmp_path, TOKEN_HEAD, LABELS, 1)


def test_names_of_task_rows_move_along(tmp_path):
    folder = build_encoder(tmp_path, task_names=["knowledge_masking", "sentence_distance"])
    names = new_model(folder, TOKEN_HEAD, LABELS, 1).config.task_names
    assert names == ["sentence_distance", "knowledge_masking"]


def test_half_precision_weights_are_trained_in_float32(encoder_folder, tmp_path):
    shutil.copytree(encoder_folder, tmp_path, dirs_exist_ok=True)
    AutoModel.from_pretrained(encoder_folder, dtype=torch.bfloat16).save_pretrained(tmp_path)
    assert new_model(tmp_path, TOKEN_HEAD, LABELS, 0).dtype == torch.float32


def test_the_number_of_positions_limits_the_tokens(encoder_folder, said):
    config = load_config(encoder_folder)
    assert (token_limit(config, 32), token_limit(config, 256)) == (32, 40)
    assert "max_tokens 256 → 40" in said()
    assert token_limit(BertConfig(model_type="roberta", max_position_embeddings=514, pad_token_id=1), 600) == 512


def test_offsets_hold_whatever_the_text(encoder_folder):
    tokenizer = load_tokenizer(encoder_folder)
    assert pieces(tokenizer, "他 \u3000在")[0] == ["他", "在"]
    assert pieces(tokenizer, "[MASK]他")[0] == ["[", "MASK", "]", "他"]
    assert pieces(tokenizer, "😀他")[0] == ["😀", "他"]
    assert pieces(tokenizer, "A1他")[0] == ["A", "1", "他"]
    assert pieces(tokenizer, "\ud800他")[0][-1] == "他"
    assert pieces(tokenizer, "한他") == (["한", "한", "한", "他"], [True, False, False, True])
    assert encode(tokenizer, []) == []


def test_a_saved_tokenizer_still_reads_special_tokens_as_text(encoder_folder, tmp_path):
    from transformers import AutoTokenizer

    load_tokenizer(encoder_folder).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.mask_token_id not in tokenizer("[MASK]")["input_ids"]
    assert special_ids(tokenizer) == ([tokenizer.cls_token_id], [tokenizer.sep_token_id])
