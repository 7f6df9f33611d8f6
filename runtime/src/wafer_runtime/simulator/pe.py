"""PEs: the interpreter of the instruction records of `isa`. Loops for numba.

A PE has a thread for its task (number 0) and its microthreads. In a cycle every thread
takes a step if the memory's ports, the one arithmetic unit and the one way out to the
ramp allow, in turns: so a PE can send and receive a wavelet in the same cycle.
"""

import numpy as np

from wafer_runtime.simulator import compiled, isa, state
from wafer_runtime.simulator.router import (
    fail,
    has_head,
    has_room,
    pop,
    push,
    schedule,
    wake,
)
from wafer_runtime.simulator.values import bits_of, float_of, float_result, whole_result

CONTROLS_A_CYCLE = 100_000


@compiled.inlined
def choose_task(m, p, cycle):
    """Start the next task that is activated, or whose wavelet is there, in turns."""
    pe = m.pes[p]
    tasks = m.tasks[pe.program]
    for k in range(1, tasks.size + 1):
        t = (pe.last_task + k) % tasks.size
        task = tasks[t]
        if task.entry == state.NONE or (pe.blocked >> t) & 1:
            continue
        if task.endpoint != state.NONE:
            if not has_head(m, m.endpoints[p, task.endpoint], cycle):
                continue
        elif not (pe.ready >> t) & 1:
            continue
        pe.ready &= ~(np.uint32(1) << np.uint32(t))
        pe.last_task = t
        pe.pc = task.entry
        return True
    return False


@compiled.inlined
def in_use(m, p, slot, q):
    """Whether another thread of the PE uses queue q."""
    for other in range(m.threads.shape[1]):
        thread = m.threads[p, other]
        if other != slot and thread.row != state.NONE:
            for k in range(3):
                if m.code[thread.row].kind[k] == isa.FABRIC and thread.at[k] == q:
                    return True
    return False


@compiled.inlined
def place_of(m, p, at, k, length):
    """Where operand k of an instruction is: an element, a queue, a register."""
    row = m.code[at]
    place = row.start[k]
    if row.kind[k] == isa.FABRIC:
        place = m.endpoints[p, row.start[k]]
        if place == state.NONE:
            fail(m, p, state.NO_ROUTE, state.NONE, row.start[k], at)
        elif in_use(m, p, row.thread, place):
            fail(m, p, state.COLOR_TWICE, m.queues[place].color, 0, at)
    elif row.kind[k] == isa.REGISTER:
        place = row.register[k]
    elif row.kind[k] == isa.MEMORY:
        if row.register[k] != state.NONE:
            place += m.registers[p, row.register[k]]
        end = place + row.stride[k] * (length - 1)
        if length > 0 and (place < row.low[k] or end >= row.high[k]):
            outside = place if place < row.low[k] else end
            fail(m, p, state.OUT_OF_RANGE, k, outside - row.low[k], at)
    return place


@compiled.inlined
def issue(m, p, at):
    """Give a vector instruction to its thread; False while that is busy.

    Nothing is checked later on: what is issued stays inside its arrays and queues.
    """
    row = m.code[at]
    thread = m.threads[p, row.thread]
    if thread.row != state.NONE:
        return False
    length = row.length
    if row.length_register != state.NONE:
        length = m.registers[p, row.length_register]
    if length < 0:
        fail(m, p, state.NEGATIVE_LENGTH, state.NONE, length, at)
    for k in range(3):
        thread.at[k] = place_of(m, p, at, k, length)
    if m.fault[state.CODE]:
        return False
    thread.length = length
    thread.done = 0
    if length > 0:
        thread.row = at
    elif row.then != state.NONE:
        m.pes[p].ready |= np.uint32(1) << np.uint32(row.then)
    return True


@compiled.inlined
def control(m, p, row):
    """Execute a control instruction."""
    pe = m.pes[p]
    bit = np.uint32(1) << np.uint32(row.value & 31)
    step = 1
    if row.op == isa.END:
        pe.pc = state.NONE
        return
    if row.op == isa.ACTIVATE:
        pe.ready |= bit
    elif row.op == isa.BLOCK:
        pe.blocked |= bit
    elif row.op == isa.UNBLOCK:
        pe.blocked &= ~bit
    else:
        r = row.register[0]
        value = m.registers[p, r]
        if row.op == isa.SET:
            m.registers[p, r] = row.value
        elif row.op == isa.ROTATE:
            m.registers[p, r] = (value + row.value) % row.target
        elif (row.op == isa.JUMP_IF) == (value != 0):
            step = row.target
    pe.pc += step


@compiled.inlined
def advance_task(m, p, cycle):
    """Execute what takes no cycle, up to a vector instruction to wait for."""
    pe = m.pes[p]
    for _ in range(CONTROLS_A_CYCLE):
        if m.threads[p, 0].row != state.NONE or m.fault[state.CODE]:
            return
        if pe.pc == state.NONE and not choose_task(m, p, cycle):
            return
        row = m.code[pe.pc]
        if row.op >= isa.END:
            control(m, p, row)
        elif issue(m, p, pe.pc):
            pe.pc += 1
        else:
            return
    fail(m, p, state.ENDLESS, state.NONE, 0, pe.pc)


@compiled.inlined
def streams_ready(m, thread, row, cycle):
    """Whether wavelets to read have arrived, and there is room for one to send."""
    if row.kind[0] == isa.FABRIC and not has_room(m, thread.at[0]):
        return False
    if row.kind[1] == isa.FABRIC and not has_head(m, thread.at[1], cycle):
        return False
    return row.kind[2] != isa.FABRIC or has_head(m, thread.at[2], cycle)


@compiled.inlined
def load(m, p, thread, row, k, i, word):
    """The bits of operand k's element i of this step; `word` came by the fabric."""
    if row.kind[k] == isa.MEMORY:
        at = thread.at[k] + row.stride[k] * (thread.done + i)
        if row.type == isa.F16 or row.type == (isa.WIDE if k else isa.NARROW):
            return np.int64(m.words16[p, at])
        return np.int64(m.words32[p, at])
    if row.kind[k] == isa.FABRIC:
        if row.type == isa.F16:
            return np.int64(word >> (16 * i)) & 0xFFFF
        return np.int64(word)
    if row.kind[k] == isa.REGISTER:
        return np.int64(m.registers[p, thread.at[k]]) & 0xFFFFFFFF
    return np.int64(thread.at[k]) & 0xFFFFFFFF


@compiled.inlined
def result(m, p, thread, row, i, first, second):
    """Element i of this step's result, as bits."""
    a = load(m, p, thread, row, 1, i, first)
    if row.type == isa.NARROW:
        return bits_of(float_of(a, isa.F32), isa.F16)
    if row.op == isa.MOV:
        return np.uint32(a)
    b = load(m, p, thread, row, 2, i, second)
    c = np.int64(0)
    if row.op == isa.MAC:
        c = load(m, p, thread, row, 0, i, 0)
    if row.type == isa.I32:
        if row.op == isa.DIV and b == 0:
            fail(m, p, state.DIVISION, state.NONE, thread.done + i, thread.row)
        return whole_result(
            row.op, np.int64(np.int32(a)), np.int64(np.int32(b)), np.int64(np.int32(c))
        )
    source = isa.F16 if row.type == isa.WIDE else row.type
    to = isa.F32 if row.type == isa.WIDE else row.type
    return float_result(
        row.op, float_of(a, source), float_of(b, source), float_of(c, to), to
    )


@compiled.inlined
def take(m, thread, row, k, cycle):
    """The wavelet for operand k, 0 where none is needed."""
    if row.kind[k] != isa.FABRIC:
        return np.int64(0)
    m.clock[state.RECEIVED] += 1
    queue = m.queues[thread.at[k]]
    item = m.words[queue.ring + queue.head].item
    if item and row.item and item != row.item:
        fail(m, queue.pe, state.OTHER_ITEMS, queue.color, item, thread.row)
    # Routers run after the PEs in a cycle, and see the room at once.
    return np.int64(pop(m, thread.at[k], cycle))


@compiled.inlined
def step(m, p, thread, row, cycle):
    """Compute the next elements of a vector instruction."""
    count = min(row.width, thread.length - thread.done)
    first = take(m, thread, row, 1, cycle)
    second = take(m, thread, row, 2, cycle)
    out = np.int64(0)
    for i in range(count):
        bits = result(m, p, thread, row, i, first, second)
        at = thread.at[0] + row.stride[0] * (thread.done + i)
        if row.kind[0] == isa.FABRIC:
            out |= np.int64(bits) << (16 * i)
        elif row.kind[0] == isa.REGISTER:
            m.registers[p, thread.at[0]] = np.int32(bits)
        elif row.type == isa.F16 or row.type == isa.NARROW:
            m.words16[p, at] = bits
        else:
            m.words32[p, at] = bits
    thread.done += count
    last = thread.done == thread.length
    if row.kind[0] == isa.FABRIC:
        m.clock[state.SENT] += 1
        switch = row.switch if last else isa.KEEP
        push(m, thread.at[0], out, row.item, switch, cycle)
    if last:
        thread.row = state.NONE
        if row.then != state.NONE:
            m.pes[p].ready |= np.uint32(1) << np.uint32(row.then)


@compiled.inlined
def look_again(m, q, cycle):
    """Have a queue whose head is still on the ramp wake its PE."""
    queue = m.queues[q]
    if queue.count > 0:
        ready = m.words[queue.ring + queue.head].ready
        if ready > cycle:
            schedule(m, q, ready)


@compiled.inlined
def sleep(m, p, cycle):
    """Whatever the PE waits for will wake it: a wavelet, or room in a queue."""
    for slot in range(m.threads.shape[1]):
        thread = m.threads[p, slot]
        if thread.row != state.NONE:
            for k in range(1, 3):
                if m.code[thread.row].kind[k] == isa.FABRIC:
                    look_again(m, thread.at[k], cycle)
    if m.pes[p].pc == state.NONE:
        tasks = m.tasks[m.pes[p].program]
        for t in range(tasks.size):
            if tasks[t].endpoint != state.NONE:
                look_again(m, m.endpoints[p, tasks[t].endpoint], cycle)
    m.pes[p].awake = 0


@compiled.inlined
def run_pe(m, p, cycle):
    """A cycle of PE p; whether any of its threads took a step.

    Threads come in turn, from the first on that had to let others go in the cycle
    before: whoever has all it needs is held up by each of the others once at most.
    """
    advance_task(m, p, cycle)
    pe = m.pes[p]
    reads, writes, computes, sends = m.budget[0], m.budget[1], 1, 1
    moved, held_up = False, False
    slots = m.threads.shape[1]
    following = pe.turn
    for _ in range(slots):
        slot = following
        following = slot + 1 if slot + 1 < slots else 0
        thread = m.threads[p, slot]
        if thread.row == state.NONE:
            continue
        row = m.code[thread.row]
        if not streams_ready(m, thread, row, cycle):
            continue
        compute = row.op != isa.MOV
        outward = row.kind[0] == isa.FABRIC
        fits = row.reads <= reads and row.writes <= writes
        fits &= compute <= computes and outward <= sends
        if fits:
            reads, writes = reads - row.reads, writes - row.writes
            computes, sends = computes - compute, sends - outward
            step(m, p, thread, row, cycle)
            m.clock[state.STEPS] += 1
            moved = True
        elif not held_up:
            held_up = True
            pe.turn = slot
    return moved


@compiled.inlined
def run_pes(m, cycle):
    """The PEs' part of a cycle: wake those with wavelets, run all that are awake."""
    slot = cycle & (m.due.size - 1)
    for k in range(m.due[slot]):
        queue = m.queues[m.wheel[slot, k]]
        if queue.route == state.NONE:
            queue.scheduled = 0
            m.clock[state.SCHEDULED] -= 1
            wake(m, queue.pe)
    kept = 0
    for k in range(m.clock[state.AWAKE]):
        p = m.awake[k]
        if run_pe(m, p, cycle):
            m.clock[state.LAST_STEP] = cycle
            m.awake[kept] = p
            kept += 1
        else:
            sleep(m, p, cycle)
    m.clock[state.AWAKE] = kept
