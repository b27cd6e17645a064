"""What each layer costs, and how far it is from the machine's limits."""
