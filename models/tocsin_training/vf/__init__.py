"""The ventricular fibrillation model."""
