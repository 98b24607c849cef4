"""The atrial fibrillation model."""
