"""What every command line shares: its parser, and how bad input is told in one line."""
