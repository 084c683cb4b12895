"""The exercises of each notebook: question, hints, reference answer and a check that explains."""
