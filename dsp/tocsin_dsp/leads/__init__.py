"""Choice of the lead in use, and correction of its beats by the other leads."""
