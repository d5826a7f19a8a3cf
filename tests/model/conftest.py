"""The sample passages and the micro run of the pretraining tests."""

from tests.pretrain.conftest import _one_thread, builder, data

__all__ = ["_one_thread", "builder", "data"]
