"""How the loops are compiled by numba.

They allocate nothing, so arrays need no reference counts (`_nrt`): counting them was
nine tenths of the time, for every function is given all arrays of the machine. For the
same reason functions are inlined, and only `entry` can be called from Python.
"""

from functools import partial

from numba import njit

_loops = partial(njit, _nrt=False, error_model="numpy")
inlined = _loops(forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
entry = _loops(cache=True)
