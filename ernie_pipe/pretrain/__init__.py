"""Continual multi-task pretraining: settings, schedule, plan, batches, trainer, checkpoints."""
