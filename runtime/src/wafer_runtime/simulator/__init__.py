"""The simulation engine: executes what the compiler planned. No TensorFlow here.

`layout` and `program` say what PEs and routers do, `fabric` runs them cycle by cycle,
`collectives` and `costs` are the published reduce and broadcast algorithms on it.
"""
