import pytest

from ernie_pipe.config import load_yaml, validate
from ernie_pipe.errors import InputError
from ernie_pipe.finetune import HEADS, head_class
from ernie_pipe.resources import folder


@pytest.mark.parametrize("task", HEADS)
def test_the_recipe_names_every_setting_and_equals_the_defaults(task):
    cls = head_class(task).settings_class
    recipe = load_yaml(folder("configs") / "finetune" / f"{task}.yaml")
    assert recipe.keys() == cls.model_fields.keys()
    assert validate(cls, recipe, where="recipe") == cls()


@pytest.mark.parametrize("path", sorted((folder("configs") / "finetune").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_is_valid_for_the_head_in_its_name(path):
    validate(head_class(path.stem.split("-")[-1]).settings_class, load_yaml(path), where=path.name)


@pytest.mark.parametrize("task", HEADS)
def test_every_setting_is_described(task):
    assert all(field.description for field in head_class(task).settings_class.model_fields.values())


@pytest.mark.parametrize("wrong", [{"learning_rate": 0}, {"max_tokens": 2}, {"device": "tpu"}, {"epoch": 3}])
def test_a_wrong_setting_is_refused_by_name(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        validate(head_class("tagger").settings_class, wrong, where="x.yaml")
