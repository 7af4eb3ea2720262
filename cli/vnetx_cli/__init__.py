"""The command line: one module for each noun, no logic of its own."""
