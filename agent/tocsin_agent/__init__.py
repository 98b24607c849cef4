"""tocsin: a real-time ECG anomaly-detection agent for the edge."""

__version__ = "0.1.0"
