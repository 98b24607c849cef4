"""Features of rhythms: fibrillation waveforms and RR irregularity."""
