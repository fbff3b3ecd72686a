"""Common parts of every command line: its parser, and how bad input is told in one line."""
