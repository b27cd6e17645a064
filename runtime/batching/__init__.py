"""Dynamic batching: requests of many threads and coroutines run together."""
