"""Word engines: whatever the text, the words joined are the text; rjieba and jieba agree; others plug in."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ernie_pipe import resources
from ernie_pipe.errors import InputError
from ernie_pipe.text import user_dictionary as users
from ernie_pipe.text.words import NAME_TAGS, engine_names, load_engine

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "forward-words"
ENGINES = [(name, hmm) for name in ("rjieba", "jieba") for hmm in (False, True)]
KNOWN = st.sampled_from("哈尔滨是黑龙江的省会aB1.\r\n \x00\u0301")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | KNOWN, max_size=40)
ODD = [
    "", "\x00", "a\x00b\x00哈尔滨\x00", "\u0301\u0301e\u0301哈\u0301尔滨", "👨‍👩‍👧哈尔滨👍🏽🇨🇳",
    "哈尔滨" * 3000, "a" * 9000, "1" * 9000, "，" * 9000, "a\r\nb\r\n哈尔滨\r\n\n\r", "\ud7ff\ue000\U0010ffff",
    "\u202e哈尔滨\u200b\ufeff", "3.14%+#&._-", "　\t \x0b\x1c\x85\u2028\u2029", "ｱｲｳ한국어العربيةไทย",
    "[MASK]哈尔滨[SEP]",
]  # fmt: skip


@pytest.fixture(scope="module")
def engines():
    return {(name, hmm): load_engine(name, hmm=hmm) for name, hmm in ENGINES}


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=50)
@given(text=TEXTS)
def test_words_joined_are_the_text(engines, engine, text):
    assert "".join(engines[engine].cut(text)) == text
    assert "".join(word for word, _ in engines[engine].tag(text)) == text


@pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
@pytest.mark.parametrize("engine", ENGINES)
def test_words_joined_are_the_text_whatever_it_holds(engines, engine, text):
    assert "".join(engines[engine].cut(text)) == text
    assert "".join(word for word, _ in engines[engine].tag(text)) == text


@pytest.mark.parametrize("engine", ENGINES)
def test_names_are_tagged(engines, engine):
    tagged = dict(engines[engine].tag("哈尔滨是黑龙江的省会"))
    assert NAME_TAGS[tagged["哈尔滨"]] == NAME_TAGS[tagged["黑龙江"]] == "LOC"


def sample_lines(soak):
    """Lines of the sample corpus, every tenth of them in the short form."""
    files = sorted((resources.sample() / "documents").glob("*.jsonl"))
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return lines[:: 1 if soak else 10]


def test_rjieba_finds_the_words_and_names_of_jieba(engines, soak):
    for line in [*sample_lines(soak), *ODD]:
        ours, theirs = (engines[name, False] for name in ("rjieba", "jieba"))
        assert ours.cut(line) == theirs.cut(line)
        assert names(ours, line) == names(theirs, line)


def names(engine, text):
    return [(word, tag) for word, tag in engine.tag(text) if tag in NAME_TAGS]


@pytest.mark.parametrize("engine", ENGINES)
def test_versions_are_told(engines, engine):
    assert engines[engine].version
    assert engines[engine].dictionary_hash


@pytest.fixture(scope="module")
def user_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("words")
    words = folder / "words.txt"
    words.write_text("省会的 9 n\n云端算力\n的省 5000 nz\n哈尔滨 99999\n国际冰 nt\n", encoding="utf-8")
    merged = folder / "merged"
    merged.write_bytes(users.merge([str(words)]))
    return str(merged)


@pytest.mark.parametrize("name", ["rjieba", "jieba"])
def test_words_of_a_user_dictionary_are_cut_and_tagged(user_file, name):
    plain, engine = load_engine(name), load_engine(name, user_dictionary=user_file)
    assert "云端算力" not in plain.cut("要云端算力。")
    assert engine.cut("要云端算力。") == ["要", "云端算力", "。"]
    assert dict(engine.tag("国际冰和哈尔滨"))["国际冰"] == "nt"
    assert dict(engine.tag("国际冰和哈尔滨"))["哈尔滨"] == "ns"
    assert plain.dictionary_hash != engine.dictionary_hash
    assert engine.dictionary_hash.startswith(plain.dictionary_hash)


def test_with_a_user_dictionary_too_rjieba_finds_the_words_of_jieba(user_file, soak):
    ours, theirs = (load_engine(name, user_dictionary=user_file) for name in ("rjieba", "jieba"))
    for line in sample_lines(soak):
        assert ours.cut(line) == theirs.cut(line)
        assert names(ours, line) == names(theirs, line)


def test_a_replaced_frequency_leaves_the_total(write):
    merged = write("merged", users.merge([str(write("a.txt", "的 9\n哈尔滨 99999\n云端算力 5\n"))]))
    totals = []
    for path in (None, str(merged)):
        engine = load_engine("jieba", user_dictionary=path)
        engine.cut("哈")
        totals.append(engine._tokenizer.total - sum(engine._tokenizer.FREQ.values()))
    assert totals[0] == totals[1]


def test_an_unknown_engine_is_refused():
    assert engine_names()[:2] == ["rjieba", "jieba"]
    with pytest.raises(InputError, match=r"unknown word engine `pkuseg`; known: rjieba, jieba"):
        load_engine("pkuseg")


def installed(folder: Path, entry: str = "") -> None:
    """Put the example package into `folder` as pip would: its module and what says of its entry point."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info = folder / named
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    ((group, points),) = project["entry-points"].items()
    lines = [f"{name} = {entry or value}" for name, value in points.items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines]))
    (folder / "forward_words.py").write_bytes((EXAMPLE / "forward_words.py").read_bytes())


def test_the_example_of_the_documentation_works(tmp_path, user_file):
    installed(tmp_path)
    program = f"""
from ernie_pipe.text.units import Segmenter
from ernie_pipe.text.words import engine_names, load_engine
assert engine_names() == ["rjieba", "jieba", "forward-words"]
engine = load_engine("forward-words", user_dictionary={user_file!r})
assert engine.cut("在哈尔滨用PyTorch2跑云端算力\\n") == ["在", "哈尔滨", "用", "PyTorch2", "跑", "云端算力", "\\n"]
units = Segmenter(engine).units("在哈尔滨跑云端算力")
assert [units.entities, len(units.word_bounds)] == [[(1, 4, "LOC", "tagger")], 4], units
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_documentation_shows_the_example_as_it_is():
    page = (ROOT / "docs" / "word-engines.md").read_text(encoding="utf-8")
    for file in ("pyproject.toml", "forward_words.py"):
        assert (EXAMPLE / file).read_text(encoding="utf-8") in page


def test_an_engine_of_another_package_may_fail_plainly(tmp_path, monkeypatch, user_file):
    installed(tmp_path, "nowhere:Engine")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="`forward-words`: nowhere:Engine cannot be imported"):
        load_engine("forward-words")
    (tmp_path / "nowhere.py").write_text("class Engine:\n    def __init__(self, *, hmm): pass\n")
    assert load_engine("forward-words")
    with pytest.raises(InputError, match="`forward-words` takes no user dictionary"):
        load_engine("forward-words", user_dictionary=user_file)
