"""The course's own tools: set-up, tests, running notebooks, checking their form."""
