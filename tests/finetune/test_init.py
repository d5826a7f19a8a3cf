import subprocess
import sys

import pytest

import ernie_pipe.finetune as finetune


def test_importing_the_names_loads_no_torch():
    code = (
        "import sys; from ernie_pipe.finetune import Classifier, Tagger; import ernie_pipe.finetune.commands;"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'sklearn', 'datasets')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(("task", "name"), finetune.HEADS.items())
def test_every_head_is_exported_under_its_task(task, name):
    assert finetune.head_class(task) is getattr(finetune, name)
    assert finetune.head_class(task).task == task


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="Segmenter"):
        finetune.Segmenter  # noqa: B018
