import subprocess
import sys

import pytest
import torch

from ernie_pipe.errors import InputError
from ernie_pipe.model.convert import new_config
from ernie_pipe.model.multitask import MultiTaskModel
from ernie_pipe.pretrain.batch import to_tensors
from ernie_pipe.tasks import BUILT_IN, Task, find
from tests.pretrain.building import MICRO, batches

TOY = "tests.tasks.toys:SentenceCount"


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_task_carries_its_registry_name(name):
    assert find(name).name == name
    assert issubclass(find(name), Task)


def test_an_unknown_task_is_answered_with_the_nearest():
    with pytest.raises(InputError, match="unknown task `sentence_distence`; did you mean `sentence_distance`"):
        find("sentence_distence")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:Task", "cannot load"),
        ("tests.tasks.toys:Nothing", "cannot load"),
        ("tests.tasks.toys:Labelled", "no subclass"),
    ],
)
def test_a_wrong_path_says_what_is_wrong(name, message):
    with pytest.raises(InputError, match=message):
        find(name)


def test_a_task_of_a_third_party_trains(data):
    builder = batches(
        data,
        tasks={"knowledge_masking": {}, TOY: {}},
        stages=[{"steps": 1, "tasks": {"knowledge_masking": 0.5, TOY: 0.5}}],
        batch={"tokens_per_step": 512, "micro_batches": 1},
        model=MICRO["model"] | {"dropout": 0.0, "attention_dropout": 0.0},
    )
    torch.manual_seed(0)
    config = new_config(builder.plan.settings.model, builder.special, list(builder.tasks))
    model = MultiTaskModel(config, builder.tasks)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    batch = to_tensors(builder.step(0, [0])[0])
    for _ in range(200):
        output = model(batch)[TOY]
        output.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert len(batch["targets"][TOY][1].unique()) > 1
    assert output.correct == output.positions == (builder.plan.step(0)[0].task == 1).sum() > 3


def test_names_and_settings_need_no_torch():
    script = "import sys\nfrom ernie_pipe.tasks import BUILT_IN, find\nfor name in BUILT_IN: find(name)\n"
    script += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
