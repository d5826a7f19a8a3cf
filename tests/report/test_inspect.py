import shutil

import pytest

from ernie_pipe.corpus.reader import Passages
from ernie_pipe.errors import InputError
from ernie_pipe.pretrain import run as runs
from ernie_pipe.report import inspect
from ernie_pipe.report.masks import examples, render
from ernie_pipe.text import lexicon as lexicons
from ernie_pipe.text import lexicon_files
from ernie_pipe.text.encode import load_encoder
from ernie_pipe.text.units import Segmenter
from ernie_pipe.text.words import load_engine
from tests.pretrain.building import sample_texts, settings, write_passages

TEXT = "哈尔滨是黑龙江的省会，PyTorch 很流行。"


@pytest.fixture
def lexicon(write):
    return str(write("lexicon.tsv", "哈尔滨\tLOC\n黑龙江的省会\tPHRASE\n"))


def test_a_text_is_shown_with_its_units_and_at_every_level(capsys, lexicon):
    assert inspect.main(["--text", TEXT, "--lexicon", lexicon, "--seed", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("words:    哈尔滨 是 ")
    assert lines[1] == "phrases:  黑龙江的省会"
    assert "哈尔滨 LOC (lexicon)" in lines[2]
    assert [line.split()[0] for line in lines[3:]] == ["basic", "word", "phrase", "entity"]
    for line in lines[3:]:
        shown = line.split("your text: ")[1]
        assert "".join(shown.split()).replace("[", "").replace("]", "") == "".join(TEXT.split())


def test_whole_units_are_hidden_at_the_level_of_phrases(lexicon):
    table = lexicon_files.read_lexicons([lexicon])
    compiled = lexicons.from_bytes(lexicons.compile_lexicon(table.entities, table.phrases))
    units = Segmenter(load_engine("rjieba"), compiled).units(TEXT)
    hidden = set()
    for seed in range(60):
        *_, phrase, _ = inspect.mask_text(TEXT, units, seed)
        hidden |= {piece.split("]")[0] for piece in render(phrase, colour=False).split("[")[1:]}
    assert "黑龙江的省会" in hidden
    assert not hidden & {"黑", "江", "省会", "滨"}


@pytest.mark.parametrize("strategy", ["ngram", "span"])
def test_consecutive_words_are_hidden_together_by_strategy(capsys, strategy):
    text = "他们每年冬天都去北方的湖边看冰，也看许多鸟。"
    assert inspect.main(["--text", text, "--strategy", strategy, "--rate", "0.4"]) == 0
    words, *_, first, second, third, fourth = capsys.readouterr().out.splitlines()
    words = words.split()[1:]
    hidden = set()
    for line in (first, second, third, fourth):
        assert line.split()[:2] == [strategy, "your"]
        hidden |= {piece.split("]")[0] for piece in line.split("text: ")[1].split("[")[1:]}
    runs = {"".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1)}
    assert hidden <= runs
    assert hidden - set(words), "some pieces are of several words"


@pytest.mark.parametrize("text", ["", "  ", "好", "[MASK][SEP]", "<script>💻"])
def test_odd_texts_are_no_error(text):
    assert inspect.main(["--text", text]) == 0


@pytest.fixture
def run(tmp_path, data):
    runs.create(tmp_path / "run", settings(), data, Passages(data).manifest)
    return str(tmp_path / "run")


def test_a_step_of_a_run_is_the_very_batch_that_was_trained(run, builder, data):
    tokens = {number: token for token, number in load_encoder(f"{data}/tokenizer").vocab.items()}
    trained = [example for built in builder.step(6, range(4)) for example in examples(built, builder, tokens)]
    assert list(inspect.of_step(run, 6)) == trained


def test_as_many_examples_are_printed_as_were_asked_for(run, capsys):
    assert inspect.main(["--run", run, "--step", "5", "--examples", "3", "--color", "always"]) == 0
    text = capsys.readouterr().out
    assert len(text.splitlines()) == 3
    assert "\033[1;" in text


def test_a_step_beyond_the_schedule_is_refused(run):
    with pytest.raises(InputError, match="this run has the steps 0 to 9"):
        inspect.main(["--run", run, "--step", "10"])


def test_data_that_changed_since_is_refused(tmp_path):
    folder = write_passages(tmp_path / "passages", sample_texts(80), max_tokens=64)
    runs.create(tmp_path / "run", settings(), folder, Passages(folder).manifest)
    shutil.rmtree(folder)
    write_passages(tmp_path / "passages", sample_texts(90), max_tokens=64)
    with pytest.raises(InputError, match="is no longer the data"):
        inspect.main(["--run", str(tmp_path / "run")])
