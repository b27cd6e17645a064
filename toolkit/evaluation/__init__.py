"""What labeled images tell of a classifier: accuracy, confusion, calibration, mistakes of preprocessing."""
