"""What a run costs on a GPU: its own time, the host's, copies, clocks and memory."""
