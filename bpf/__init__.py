"""The data plane's C sources, shipped as package data."""
