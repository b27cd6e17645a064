"""How well classifiers do on labeled images: accuracy, confusion, calibration, comparison."""
