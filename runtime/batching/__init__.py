"""Requests of many callers, run together."""
