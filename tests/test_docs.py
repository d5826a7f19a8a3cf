"""What READMEs and docs show is true: links lead somewhere, and commands and benchmarks take what is shown."""

import ast
import json
import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest
import segment_corpus

from ernie_pipe import cli
from ernie_pipe.corpus import schema
from ernie_pipe.corpus.manifest import Manifest
from ernie_pipe.errors import InputError
from ernie_pipe.finetune import HEADS
from ernie_pipe.text import lexicon as lexicons
from ernie_pipe.text.document import Record
from ernie_pipe.text.lexicon_files import read_lexicons
from ernie_pipe.text.passages import UNIT_BITS, Tally
from ernie_pipe.text.units import Segmenter
from ernie_pipe.text.words import load_engine

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
READMES = [ROOT / "README.md", ROOT / "README.zh.md"]
JOBS = {
    "segment_corpus.py": "segment",
    "mine_lexicon.py": "mine",
    "mine_relations.py": "relations",
    "gather_clicks.py": "clicks",
    "build_vocab.py": "vocab",
    "encode_corpus.py": "encode",
    "import_ernie1.py": "import-ernie1",
}
pages = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())


def blocks(page):
    """The lines of blocks of code that name no language, and what is left of the page without any code."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return [line for language, block in found if not language for line in block.splitlines()], prose


def command_lines(lines):
    """(command, its arguments) of every `ernie-pipe` and `spark-submit` line that has arguments."""
    for line in lines:
        words = shlex.split(line, comments=True) if line.startswith(("ernie-pipe ", "spark-submit ")) else []
        if len(words) > 2:
            yield (words[1] if words[0] == "ernie-pipe" else JOBS[Path(words[1]).name]), words[2:]


def flags_of(arguments, capsys):
    """The flags in the help of a command that reads these arguments and then `--help`: it must be able to."""
    with pytest.raises(SystemExit) as ended:
        cli.run([*arguments, "--help"])
    out, err = capsys.readouterr()
    assert ended.value.code == 0, err
    return re.findall(r"--[a-z0-9-]+", out)


@pages
def test_every_command_line_is_what_the_command_takes(page, capsys):
    lines, prose = blocks(page)
    for command, arguments in command_lines(lines):
        known = flags_of([command, *arguments], capsys)
        unknown = [word for word in arguments if word.startswith("--") and word not in known]
        assert not unknown, f"{command} {arguments}: {unknown}"
    # In running text a command may be cut short.
    for command, arguments in command_lines(re.findall(r"`((?:ernie-pipe|spark-submit) [^`]+)`", prose)):
        known = flags_of([command, *(word for word in arguments[:1] if command == "finetune")], capsys)
        unknown = [word for word in arguments if word.startswith("--") and word not in known]
        assert not unknown, f"{command} {arguments}: {unknown}"


def test_the_readmes_show_the_same_commands_and_all_jobs():
    shown = [list(command_lines(blocks(readme)[0])) for readme in READMES]
    assert shown[0] == shown[1]
    lines = [line for line in blocks(READMES[0])[0] if line.startswith("spark-submit")]
    assert {command for command, _ in command_lines(lines)} == set(JOBS.values())


@pages
def test_every_link_leads_somewhere(page):
    _, prose = blocks(page)
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)", prose):
        if "://" in target:
            continue
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{page.name}: {target}"
        if anchor:
            titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [slug(title) for title in titles], f"{page.name}: {target}#{anchor}"


def slug(title):
    """The anchor that a heading gets."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def test_every_page_of_the_docs_is_linked_from_the_readmes():
    for readme in READMES:
        text = readme.read_text(encoding="utf-8")
        missing = [page.name for page in (ROOT / "docs").glob("*.md") if f"(docs/{page.name})" not in text]
        assert not missing, f"{readme.name}: {missing}"


on_finetuning = pytest.mark.parametrize("page", sorted((ROOT / "docs" / "finetune").glob("*.md")), ids=lambda p: p.stem)


@on_finetuning
def test_commands_of_fine_tuning_find_their_files_and_settings(page, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    for command, arguments in command_lines(blocks(page)[0]):
        ours = [word for word in arguments if word.startswith(("ernie_pipe/", "configs/"))]
        assert all(Path(word).is_file() for word in ours), f"{command} {ours}"
        for flag, name in (("--model", "none"), ("--output", "out")):
            if flag in arguments:
                arguments[arguments.index(flag) + 1] = str(tmp_path / name)
        # Everything else is in order when the model is what is missing.
        with pytest.raises(InputError, match="none: no such folder"):
            cli.run([command, *arguments])


@on_finetuning
def test_python_on_the_pages_on_fine_tuning_compiles_and_imports_heads_there_are(page):
    text = page.read_text(encoding="utf-8")
    for block in re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        code = compile(block, page.name, "exec", flags=ast.PyCF_ONLY_AST)
        imports = [node for node in code.body if isinstance(node, ast.ImportFrom)]
        heads = [name.name for node in imports if node.module == "ernie_pipe.finetune" for name in node.names]
        assert set(heads) <= set(HEADS.values())


def test_the_page_on_fine_tuning_links_the_page_of_every_head():
    text = (ROOT / "docs" / "finetune" / "README.md").read_text(encoding="utf-8")
    heads = set(re.findall(r"\[`(\w+)`\]\((\w+\.md)\) \| `(\w+)`", text))
    assert heads == {(task, f"{task}.md", cls) for task, cls in HEADS.items()}


def test_every_benchmark_that_is_named_takes_what_is_shown():
    shown = {}
    for page in PAGES:
        for name, rest in re.findall(r"benchmarks/(\w+)\.py([^`\n]*)", page.read_text(encoding="utf-8")):
            shown.setdefault(name, set()).update(re.findall(r"--[a-z-]+", rest))
    assert len(shown) >= 3
    for name, flags in shown.items():
        text = (ROOT / "benchmarks" / f"{name}.py").read_text(encoding="utf-8")
        missing = [flag for flag in flags if f'"{flag}"' not in text]
        assert not missing, f"{name}: {missing}"


def test_the_page_on_units_names_every_column_bit_and_count():
    text = (ROOT / "docs" / "units.md").read_text(encoding="utf-8")
    names = {field.name for kind in (Manifest, Tally) for field in fields(kind)} - {"unknown_texts"}
    names |= {*schema.SEGMENTED.names, *schema.passages_schema(1).names} - {"offsets"}
    names |= segment_corpus._counts([], [], None, []).keys()
    assert not [name for name in sorted(names) if f"`{name}`" not in text]
    assert not [name for name, bit in UNIT_BITS.items() if f"| {bit} | `{name}` |" not in text]


def test_the_example_on_the_page_on_units_is_what_comes_out():
    text = (ROOT / "docs" / "units.md").read_text(encoding="utf-8")
    shown = json.loads(re.findall(r"^```json\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)[0])
    table = read_lexicons([str(ROOT / "ernie_pipe" / "sample" / "lexicon.tsv")])
    lexicon = lexicons.from_bytes(lexicons.compile_lexicon(table.entities, table.phrases))
    segmenter = Segmenter(load_engine("rjieba"), lexicon)
    layers = segmenter.segment([shown["text"]])
    row = schema.segmented_batch([Record("1", "s", shown["text"])], layers, segmenter.type_names).to_pylist()[0]
    assert {name: row[name] for name in shown} == shown
