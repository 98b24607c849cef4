"""Pure functions of arrays, where live blocks cost most: NumPy that a compiler can take as it is.

Rules, so that compiled code gives the same bits:

- Sums are exact in any order (`tocsin_dsp.exact`): of samples on the grid, or of counts.
- No operand of `np.maximum` and its kind is NaN: compilers order NaN as they like.
- A module imports NumPy only, and holds the constants that its functions use. Arrays are
  contiguous, of the types in the comment `# pythran export` above a function.
"""
