"""Jird's build: environment, downloads, wheels, site, server. See docs/architecture.md."""
