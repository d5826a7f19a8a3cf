import pytest
from transformers import BertTokenizer

from ernie_pipe.finetune.encoder import load_tokenizer
from ernie_pipe.finetune.pair_inputs import PairForm


def test_bert_s_form_is_the_tokenizer_s_own(encoder_folder):
    tokenizer = load_tokenizer(encoder_folder)
    form = PairForm.of(tokenizer)
    first, second = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("他去过", "北京"))
    assert form.join(first, second) == {
        key: value for key, value in tokenizer("他去过", "北京").items() if key != "attention_mask"
    }
    assert (form.special, form.second_start(first)) == (3, 5)


@pytest.mark.parametrize("names", [["input_ids", "attention_mask"], ["input_ids", "token_type_ids"]])
def test_segments_are_there_where_the_model_has_them(names):
    vocab = {token: i for i, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "他"])}
    tokenizer = BertTokenizer(vocab=vocab)
    tokenizer.model_input_names = names
    feature = PairForm.of(tokenizer).join([5], [])
    assert feature["input_ids"] == [2, 5, 3, 3]
    assert feature.get("token_type_ids") == ([0, 0, 0, 1] if "token_type_ids" in names else None)
