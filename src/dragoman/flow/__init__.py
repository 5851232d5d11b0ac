"""The steps that `pipeline.py` takes: what is known of a call, its envelope, its answer, its streams."""
