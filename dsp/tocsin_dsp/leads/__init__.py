"""Which lead is used, and how leads correct each other."""
