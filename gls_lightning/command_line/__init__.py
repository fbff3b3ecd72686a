"""Common parts of every command line: its parser, and how bad input is told in one line; without PyTorch.

The commands that have a model, whose parts take seconds to import, have those in ``model_commands``.
"""
