"""Statistics of latencies: samples, confidence intervals, change points, findings and the system's load."""
