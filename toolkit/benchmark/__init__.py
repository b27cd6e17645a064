"""Measurements that a decision can be built on: what `cnntk bench` stands on, in the order of its use."""
