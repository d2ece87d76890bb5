"""The intermediate representation: ops, graphs, their checks and their text."""
