"""What people look at: masked examples, fact cloze, the demo's summary."""
