"""Sources of samples: recordings, scripted patients and devices behind one interface."""
