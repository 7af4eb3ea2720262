"""Helpers that tests share: the model of a switch, the data plane in a namespace, frames."""
