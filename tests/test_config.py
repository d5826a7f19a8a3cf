"""Settings: what is not known is refused with the nearest right name; later sources win."""

import argparse
import math
from typing import Literal

import pytest
from build_vocab import VocabSettings
from encode_corpus import EncodeSettings
from pydantic import Field
from segment_corpus import SegmentSettings

from ernie_pipe import resources
from ernie_pipe.config import Settings, add_arguments, apply_overrides, from_arguments, load_yaml, nearest, validate
from ernie_pipe.errors import InputError
from ernie_pipe.pretrain.settings import PretrainSettings


class Inner(Settings):
    rate: float = Field(0.5, ge=0, le=1)
    names: list[str] = Field([])


class Outer(Settings):
    size: int = Field(3, description="100 % of it")
    path: str = Field(description="where")
    kind: Literal["a", "b"] = "a"
    fast: bool = False
    inner: Inner = Inner()
    many: list[Inner] = Field([])
    maybe: Inner | None = None
    words: list[str] = Field([])


def parse(*argv):
    parser = argparse.ArgumentParser()
    add_arguments(parser, Outer)
    return from_arguments(Outer, parser.parse_args([str(word) for word in argv]))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"siez": 1}, "x: unknown key `siez`; did you mean `size`?"),
        ({"inner": {"rat": 1}}, "x: unknown key `inner.rat`; did you mean `rate`?"),
        ({"many": [{}, {"nams": []}]}, "x: unknown key `many.1.nams`; did you mean `names`?"),
        ({"maybe": {"rates": 1}}, "x: unknown key `maybe.rates`; did you mean `rate`?"),
        ({"inner": {"zzzz": 1}}, "x: unknown key `inner.zzzz`; known: names, rate"),
        ({"size": "many"}, "x: `size`: Input should be a valid integer"),
        ({"kind": "c"}, "x: `kind`: Input should be 'a' or 'b'"),
        ({"inner": {"rate": 2}}, "x: `inner.rate`: Input should be less than or equal to 1"),
        ({"inner": 3}, "x: `inner`: Input should be a valid dictionary"),
        ({3: 3}, "x: .*Keys should be strings"),
    ],
)
def test_every_problem_names_its_key(data, message):
    with pytest.raises(InputError, match=message.replace("?", r"\?")) as caught:
        validate(Outer, {"path": "p", **data}, where="x")
    assert "\n" not in str(caught.value)


def test_a_missing_key_is_named():
    with pytest.raises(InputError, match="x: `path`: Field required"):
        validate(Outer, {}, where="x")


def test_several_problems_are_one_line():
    with pytest.raises(InputError, match=r"`size`: .*; x: `kind`: "):
        validate(Outer, {"path": "p", "size": "s", "kind": "k"}, where="x")


def test_later_sources_win(write):
    config = write("c.yaml", "size: 1\npath: file\ninner: {rate: 0.1}\nfast: true\n")
    made = parse("--config", config, "--size", 2, "--path", "flag", "--set", "path=set", "--set", "inner.names=[a, b]")
    assert (made.size, made.path, made.fast, made.inner) == (2, "set", True, Inner(rate=0.1, names=["a", "b"]))
    assert parse("--config", config, "--no-fast", "--words", "a", "b").fast is False


def test_mistakes_say_where_they_stand(write):
    config = write("c.yaml", "sise: 1\npath: p\n")
    with pytest.raises(InputError, match=rf"^{config}: unknown key `sise`"):
        parse("--config", config)
    with pytest.raises(InputError, match=r"^command line: `size`: "):
        parse("--path", "p", "--size", "big")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("a=3", {"a": 3, "list": [{"k": 1}]}),
        ("a.b.c=x", {"a": {"b": {"c": "x"}}, "list": [{"k": 1}]}),
        ("a=", {"a": None, "list": [{"k": 1}]}),
        ("list.0.k=[1, 2]", {"a": None, "list": [{"k": [1, 2]}]}),
        ("list.0=5", {"a": None, "list": [5]}),
        ('a."b.c:D".e=1', {"a": {"b.c:D": {"e": 1}}, "list": [{"k": 1}]}),
        ('a."b.c"=1', {"a": {"b.c": 1}, "list": [{"k": 1}]}),
        ('"x.y"=1', {"a": None, "list": [{"k": 1}], "x.y": 1}),
    ],
)
def test_overrides_change_a_copy(override, expected):
    data = {"a": None, "list": [{"k": 1}]}
    assert apply_overrides(data, [override]) == expected
    assert data == {"a": None, "list": [{"k": 1}]}


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("tasks.b.c:D.e=2", {"b.c:D": {"e": 2}, "b": {}}),
        ("tasks.b.c:D={}", {"b.c:D": {}, "b": {}}),
        ("tasks.b.c=3", {"b.c:D": {"e": 1}, "b": {"c": 3}}),
    ],
)
def test_a_key_with_dots_that_is_there_needs_no_quotes(override, expected):
    assert apply_overrides({"tasks": {"b.c:D": {"e": 1}, "b": {}}}, [override]) == {"tasks": expected}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "write it as key=value, for example --set seed=7"),
        ("=3", "write it as key=value"),
        ("a.b=3", "`a` is a single value, it has no keys below it"),
        ("list.7=3", "`7` must be a number from 0 to 0"),
        ("list.x.k=3", "`x` must be a number from 0 to 0"),
        ("a=[1", "'.1' is not a YAML value"),
        ('a."b=1', "in double quotes one that has dots itself"),
        ("a..b=1", "write names with dots between"),
    ],
)
def test_a_bad_override_is_explained(override, message):
    with pytest.raises(InputError, match=message):
        apply_overrides({"a": 1, "list": [{"k": 1}]}, [override])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- 1\n", "expected `key: value` lines, found a list"),
        ("a: [1\n", "not readable as YAML"),
        (b"a: \xff\xfe\n", "not readable as YAML"),
        ("a: !!python/object/apply:os.system [x]\n", "not readable as YAML"),
    ],
)
def test_a_bad_file_is_explained_in_one_line(write, content, message):
    with pytest.raises(InputError, match=message) as caught:
        load_yaml(write("c.yaml", content))
    assert "\n" not in str(caught.value)


def test_a_key_that_stands_twice_is_refused_not_lost(write):
    with pytest.raises(InputError, match=r"`rate` stands twice.*line 3"):
        load_yaml(write("c.yaml", "inner:\n  rate: 0.5\n  rate: 0.6\n"))
    merged = "a: &a {rate: 1, size: 2}\nouter:\n  b: &b {<<: *a, rate: 3}\nc: {<<: *b, size: 4}\n"
    assert load_yaml(write("c.yaml", merged))["c"] == {"rate": 3, "size": 4}


def test_missing_and_empty_files(write, tmp_path):
    assert load_yaml(write("c.yaml", "# nothing\n")) == {}
    with pytest.raises(InputError, match="no such config file"):
        load_yaml(tmp_path / "gone.yaml")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_must_be_finite(value):
    class Rates(Settings):
        shares: dict[str, float] = Field({})

    with pytest.raises(InputError, match=r"`shares\.a`: Input should be a finite number"):
        validate(Rates, {"shares": {"a": value}}, where="x")


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        validate(Outer, {"path": "p"}, where="x").size = 4


def test_help_shows_defaults_and_what_is_needed():
    parser = argparse.ArgumentParser()
    add_arguments(parser, Outer, skip=["words"])
    said = " ".join(parser.format_help().split())
    assert "100 % of it (default: 3)" in said
    assert "where (needed)" in said
    assert "--no-fast" in said
    assert "--inner" not in said
    assert "--words" not in said
    parser = argparse.ArgumentParser()
    add_arguments(parser, Outer, defaults={"size": 7})
    assert "100 % of it (default: 7)" in " ".join(parser.format_help().split())


def test_the_nearest_name_or_all():
    assert nearest("maxtokens", ["max_tokens", "output"]) == "; did you mean `max_tokens`?"
    assert nearest("zz", ["b", "a"]) == "; known: a, b"


CONFIGS = resources.folder("configs")


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_pretraining_config_loads(path):
    assert validate(PretrainSettings, load_yaml(path), where=str(path)).stages


@pytest.mark.parametrize("path", sorted((CONFIGS / "data").glob("*.yaml")), ids=lambda path: path.name)
def test_every_list_of_sources_loads(path):
    assert validate(SegmentSettings, {"output": "out", **load_yaml(path)}, where=str(path)).sources


@pytest.mark.parametrize("cls", [SegmentSettings, VocabSettings, EncodeSettings])
def test_every_field_is_described(cls):
    assert [name for name, field in cls.model_fields.items() if not field.description] == []
