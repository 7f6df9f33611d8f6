"""Routers: what moves from queue to queue in a cycle. Loops for numba.

A cycle has two parts, asking and moving, so that it does not matter in which order
queues are looked at: all decide on what they find at its beginning.
"""

import numpy as np

from wafer_runtime.simulator import compiled, isa, state
from wafer_runtime.simulator.machine import RAMP


@compiled.inlined
def fail(m, p, code, color, detail, row):
    """Note what went wrong; the run stops after this cycle."""
    if m.fault[state.CODE] == 0:
        m.fault[state.CODE] = code
        m.fault[state.WHERE] = p
        m.fault[state.COLOR] = color
        m.fault[state.DETAIL] = detail
        m.fault[state.ROW] = row


@compiled.inlined
def schedule(m, q, cycle):
    """Have queue q looked at in that cycle, unless it is already to be."""
    queue = m.queues[q]
    if queue.scheduled == 0:
        queue.scheduled = 1
        slot = cycle & (m.due.size - 1)
        m.wheel[slot, m.due[slot]] = q
        m.due[slot] += 1
        m.clock[state.SCHEDULED] += 1


@compiled.inlined
def wake(m, p):
    """Have PE p run in the next round of PEs."""
    if m.pes[p].awake == 0:
        m.pes[p].awake = 1
        m.awake[m.clock[state.AWAKE]] = p
        m.clock[state.AWAKE] += 1


@compiled.inlined
def push(m, q, value, item, switch, cycle):
    """Put a wavelet into queue q, which has room."""
    queue = m.queues[q]
    at = queue.head + queue.count
    if at >= queue.capacity:
        at -= queue.capacity
    word = m.words[queue.ring + at]
    word.value = value
    word.item = item
    word.switch = switch
    word.ready = cycle + queue.latency
    queue.count += 1
    if queue.count == 1:
        schedule(m, q, word.ready)


@compiled.inlined
def pop(m, q, cycle):
    """Take the head from queue q; who waits for the room is due in `cycle`."""
    queue = m.queues[q]
    value = m.words[queue.ring + queue.head].value
    queue.head += 1
    if queue.head == queue.capacity:
        queue.head = 0
    queue.count -= 1
    wake_waiters(m, queue, cycle)
    return value


@compiled.inlined
def wake_waiters(m, queue, cycle):
    """Have those looked at that wait for room: all send to `queue` by the same port."""
    port = RAMP if queue.port == RAMP else queue.port ^ 2  # from N it is S
    waiter = queue.waiter
    queue.waiter = state.NONE
    while waiter != state.NONE:
        m.queues[waiter].waiting &= ~(1 << port)
        schedule(m, waiter, cycle)
        waiter = m.queues[waiter].next_waiter[port]


@compiled.inlined
def has_head(m, q, cycle):
    """Whether queue q's first wavelet has arrived."""
    queue = m.queues[q]
    return queue.count > 0 and m.words[queue.ring + queue.head].ready <= cycle


@compiled.inlined
def has_room(m, q):
    """Whether queue q can take a wavelet."""
    return m.queues[q].count < m.queues[q].capacity


@compiled.inlined
def wanted(m, queue):
    """The ports that the head has still to leave by; 0: the switch keeps it."""
    if queue.pending:
        return queue.pending
    route = m.routes[queue.route]
    if (route.rx[route.position] >> queue.port) & 1:
        return route.tx[route.position]
    return np.uint8(0)


@compiled.inlined
def ask(m, q, count, cycle):
    """Ask to move q's head over the links that it wants; `count` moves are asked for.

    Of those that want a link the one comes first that follows, in the cyclic order of
    colors and ports, the one that had it last.
    """
    queue = m.queues[q]
    ports = wanted(m, queue)
    for port in range(5):
        if not (ports >> port) & 1:
            continue
        to = queue.dest[port]
        if to == state.NONE:
            fail(m, queue.pe, state.NO_ROUTE, queue.color, port, state.NONE)
        elif has_room(m, to):
            link = m.links[queue.pe * 5 + port]
            if not (queue.contested >> port) & 1 or link.asked != cycle:
                if (queue.contested >> port) & 1:
                    link.asked = cycle
                    link.move = count
                m.moves[count] = q * 8 + port
                count += 1
            elif turn(m, q, link) < turn(m, m.moves[link.move] >> 3, link):
                m.moves[link.move] = q * 8 + port
    return count


@compiled.inlined
def turn(m, q, link):
    """How long after the last queue served it is the turn of q."""
    queue = m.queues[q]
    return (queue.color * 5 + queue.port - link.last - 1) & 1023


@compiled.inlined
def move(m, q, port, cycle):
    """Let q send a copy of its head by a port."""
    queue = m.queues[q]
    if (queue.contested >> port) & 1:
        m.links[queue.pe * 5 + port].last = queue.color * 5 + queue.port
    queue.pending = wanted(m, queue) & ~(1 << port)
    queue.granted = 1
    word = m.words[queue.ring + queue.head]
    switch = isa.ADVANCE_ALL if word.switch == isa.ADVANCE_ALL else isa.KEEP
    push(m, queue.dest[port], word.value, word.item, switch, cycle)
    m.clock[state.COPIED] += 1
    m.clock[state.HOPS] += port != RAMP


@compiled.inlined
def advance(m, r, cycle):
    """Move a route's switch on, and look again at what it kept; the last one stays."""
    route = m.routes[r]
    if route.position + 1 < route.positions:
        route.position += 1
        for port in range(5):
            q = route.queue[port]
            if q != state.NONE and m.queues[q].count > 0:
                schedule(m, q, cycle + 1)


@compiled.inlined
def settle(m, q, cycle):
    """After the moves: drop a head that has left, and say when to look again."""
    queue = m.queues[q]
    if queue.granted and queue.pending == 0:
        queue.granted = 0
        switch = m.words[queue.ring + queue.head].switch
        pop(m, q, cycle + 1)
        m.clock[state.COPIED] -= 1
        if queue.port == RAMP:
            wake(m, queue.pe)
        if switch != isa.KEEP:
            advance(m, queue.route, cycle)
        if queue.count > 0:
            ready = m.words[queue.ring + queue.head].ready
            schedule(m, q, max(cycle + 1, ready))
        return
    queue.granted = 0
    ports = wanted(m, queue)
    for port in range(5):
        if not (ports >> port) & 1:
            continue
        if has_room(m, queue.dest[port]):
            schedule(m, q, cycle + 1)
        else:
            wait(m, q, port)


@compiled.inlined
def wait(m, q, port):
    """Have q looked at when there is room where that port leads."""
    queue = m.queues[q]
    if not (queue.waiting >> port) & 1:
        queue.waiting |= 1 << port
        to = m.queues[queue.dest[port]]
        queue.next_waiter[port] = to.waiter
        to.waiter = q


@compiled.inlined
def route_wavelets(m, cycle):
    """The routers' part of a cycle."""
    slot = cycle & (m.due.size - 1)
    at_work = 0
    count = 0
    for k in range(m.due[slot]):
        q = m.wheel[slot, k]
        queue = m.queues[q]
        if queue.route == state.NONE:
            continue
        queue.scheduled = 0
        m.clock[state.SCHEDULED] -= 1
        if has_head(m, q, cycle):
            count = ask(m, q, count, cycle)
            m.wheel[slot, at_work] = q
            at_work += 1
        elif queue.count > 0:  # a switch may have led away what waited for room
            schedule(m, q, m.words[queue.ring + queue.head].ready)
    if m.fault[state.CODE]:
        return
    m.due[slot] = 0
    for k in range(count):
        move(m, m.moves[k] >> 3, m.moves[k] & 7, cycle)
    for k in range(at_work):
        settle(m, m.wheel[slot, k], cycle)
