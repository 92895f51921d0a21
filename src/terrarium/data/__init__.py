"""Footage: stored episodes (`dataset`), how they are written (`writer`, `sources`) and drawn (`loader`)."""
