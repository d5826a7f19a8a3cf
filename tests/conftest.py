"""What all tests share: one Spark session, the sample corpus prepared once, and small helpers."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
os.environ.setdefault("SPARK_MASTER", "local[2]")
os.environ.setdefault("SPARK_DRIVER_MEMORY", "1g")

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "tests",
    derandomize=True,
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("tests")


def pytest_addoption(parser):
    parser.addoption("--soak", action="store_true", help="run the long form of the heavy tests")


def pytest_configure(config):
    config.addinivalue_line("filterwarnings", "ignore:PySpark does not yet fully support pandas")
    if config.getoption("--soak"):
        settings.register_profile("soak", settings.get_profile("tests"), derandomize=False, max_examples=5000)
        settings.load_profile("soak")


@pytest.fixture(scope="session")
def soak(request):
    """Whether the long forms are wanted."""
    return request.config.getoption("--soak")


@pytest.fixture
def write(tmp_path):
    """Write text or bytes to a file of this name (folders are made) and return its path."""

    def writer(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return writer


@pytest.fixture(scope="session")
def spark():
    """One local Spark session; jobs started in this process take it over."""
    session = pytest.importorskip("session", reason="needs the Spark side")
    running = session.start("tests")
    yield running
    running.stop()


@dataclass(frozen=True)
class Prepared:
    """Folders of the three preparation stages, made from the sample corpus."""

    segmented: str
    tokenizer: str
    passages: str


@pytest.fixture(scope="session")
def prepared(spark, tmp_path_factory):
    """The sample corpus through the three jobs, passages of at most 128 tokens."""
    import build_vocab
    import encode_corpus
    import segment_corpus

    from ernie_pipe import resources

    base, sample = tmp_path_factory.mktemp("prepared"), resources.sample()
    made = Prepared(*(str(base / name) for name in ("segmented", "tokenizer", "passages")))
    segment_corpus.segment(
        segment_corpus.SegmentSettings(
            input=[str(sample / "documents")], lexicon=[str(sample / "lexicon.tsv")], output=made.segmented
        )
    )
    build_vocab.build(build_vocab.VocabSettings(input=made.segmented, output=made.tokenizer))
    encode_corpus.encode(
        encode_corpus.EncodeSettings(
            input=made.segmented, tokenizer=made.tokenizer, output=made.passages, max_tokens=128
        )
    )
    return made
