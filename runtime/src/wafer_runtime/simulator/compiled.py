"""How the loops are compiled by numba.

They allocate nothing, so arrays need no reference counts (`_nrt`): counting was most of
the time, for every function is given all arrays of the machine.
"""

from functools import partial

from numba import njit

_loops = partial(njit, _nrt=False, error_model="numpy")
function = _loops()
inlined = _loops(forceinline=True)
cached = _loops(cache=True)
