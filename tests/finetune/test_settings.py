import pytest

from ernie_pipe.config import load_yaml, validate
from ernie_pipe.errors import InputError
from ernie_pipe.finetune import HEADS, head_class
from ernie_pipe.finetune.settings import FinetuneSettings
from ernie_pipe.resources import folder


def test_the_page_on_training_tells_every_setting_that_heads_share():
    page = (folder("configs").parent / "docs" / "finetune" / "training.md").read_text(encoding="utf-8")
    assert not [name for name in FinetuneSettings.model_fields if f"| `{name}` |" not in page]


@pytest.mark.parametrize("path", sorted((folder("configs") / "finetune").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_is_valid_for_the_head_in_its_name(path):
    validate(head_class(path.stem.split("-")[-1]).settings_class, load_yaml(path), where=path.name)


@pytest.mark.parametrize("task", HEADS)
def test_every_setting_is_described(task):
    assert all(field.description for field in head_class(task).settings_class.model_fields.values())


@pytest.mark.parametrize(
    "wrong",
    [
        {"learning_rate": 0},
        {"max_tokens": 2},
        {"device": "tpu"},
        {"epoch": 3},
        {"layer_decay": 0},
        {"label_smoothing": 1},
        {"class_weights": "equal"},
        {"class_weights": {"a": 0}},
        {"accumulate": 3, "batch_size": 8},
    ],
)
def test_a_wrong_setting_is_refused_by_name(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        validate(head_class("tagger").settings_class, wrong, where="x.yaml")
