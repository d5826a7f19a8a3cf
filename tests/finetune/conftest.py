"""Heads fitted once for all tests, and a writer of small files."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

from pathlib import Path

import pytest
import torch

from ernie_pipe.finetune import Chooser, Classifier, Embedder, PairClassifier, Reader, Tagger
from tests.finetune.toys import FAST, alike, build_encoder, choices, journeys, opinions, questions, verdicts


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    # Models this small lose more by waiting for a second thread than they win.
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory):
    return build_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="session")
def classifier(encoder_folder):
    head = Classifier.from_pretrained(encoder_folder, **FAST)
    head.fit(opinions(), dev=opinions())
    return head


@pytest.fixture(scope="session")
def pair_head(encoder_folder):
    head = PairClassifier.from_pretrained(encoder_folder, **FAST | {"epochs": 25})
    head.fit(verdicts(), dev=verdicts())
    return head


@pytest.fixture(scope="session")
def tagger(encoder_folder):
    head = Tagger.from_pretrained(encoder_folder, **FAST)
    head.fit(journeys(), dev=journeys())
    return head


@pytest.fixture(scope="session")
def reader(encoder_folder):
    head = Reader.from_pretrained(encoder_folder, **FAST)
    head.fit(questions(), dev=questions())
    return head


@pytest.fixture(scope="session")
def chooser(encoder_folder):
    head = Chooser.from_pretrained(encoder_folder, **FAST)
    head.fit(choices(), dev=choices())
    return head


@pytest.fixture(scope="session")
def embedder(encoder_folder):
    head = Embedder.from_pretrained(encoder_folder, **FAST | {"epochs": 4})
    head.fit(alike(), dev=alike())
    return head


@pytest.fixture
def write(tmp_path):
    """Write text or bytes to a file of this name and return its path."""

    def writer(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return writer


@pytest.fixture
def said(caplog):
    """Return what was logged so far, as one string."""
    caplog.set_level("INFO", logger="ernie_pipe")
    return lambda: "\n".join(record.getMessage() for record in caplog.records)
