"""AdamW as BERT and its successors use it."""

import torch

from ernie_pipe.pretrain.settings import OptimizerSettings


def build_optimizer(model: torch.nn.Module, settings: OptimizerSettings) -> torch.optim.AdamW:
    """AdamW without decay on biases and norms (every parameter of one dimension)."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        groups,
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        eps=settings.epsilon,
        fused=True,
    )
