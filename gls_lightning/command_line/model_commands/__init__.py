"""Parts of the command lines that have a model: their parser, and checks of what they are given."""
