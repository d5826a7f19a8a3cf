"""Passages of the sample corpus, made without Spark."""

import pytest
import torch

from tests.pretrain.building import batches, sample_passages


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    # Models this small lose more by waiting for a second thread than they win.
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A passages folder of the sample corpus, at most 64 tokens a passage."""
    return sample_passages(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def builder(data):
    """The batch builder of the micro run."""
    return batches(data)
