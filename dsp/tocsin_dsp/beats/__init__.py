"""Shape, intervals and waves of beats."""
