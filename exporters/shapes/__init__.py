"""Shapes by closed form: the ledger of a graph, and what it rests on."""
