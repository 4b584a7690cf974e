# Part of _nghttp2.pyx: a session that passes its calls to their handlers.

cdef enum:
    READ_COST = 1024      # bytes that cost a unit to decode: six small calls, of 1 to 4 µs each
    INFLATED_COST = 2048  # bytes that cost a unit to decompress, and to look at then: the largest message is 0.5 to 0.7 ms

COST_BYTES = READ_COST
INFLATED_COST_BYTES = INFLATED_COST


@cython.final
@cython.no_gc_clear
cdef class ServingSession(Session):
    """A session whose calls wait in it until their handlers have taken them. Costs are those of ``net.turns``.

    ``report`` is called with an exception of a handler, whose calls then fail.
    """

    cdef object report
    cdef list waiting              # [(handler, [UnaryCall, ...]), ...]
    cdef readonly double last_call # when the last call came; before that, the begin
    cdef readonly bint asked       # whether a call came

    def __cinit__(self, ServerState server not None, object wake not None, long long now, object report not None):
        self.report = report
        self.waiting = []
        self.last_call = now / 1_000_000.0

    def close(self):
        """Cancel every call after the connection was lost; ``take_notified()`` returns the streaming calls."""
        self.report = None
        self.drop()
        Session.close(self)

    def turn(self, bytes data not None, double now, long room, object write not None):
        """Process received bytes, pass the calls to their handlers, and write the responses; return what that cost.

        The caller must flush unless the session is ``settled`` then. Calls for which there is no room wait.
        """
        cdef long cost = self.decoded(data, now)
        cdef bytes out
        if self.waiting:
            cost += self.served(room - cost)
        if self.connection.notified == NULL and not self.opened:
            out = self.flushed()
            if out:
                write(out)
        return cost

    def read(self, bytes data not None, double now):
        """Process received bytes, and return what that cost. The calls that they complete wait."""
        return self.decoded(data, now)

    def serve(self, long room):
        """Pass calls that wait to their handlers, until they cost ``room`` or more; return their cost."""
        return self.served(room)

    def drop(self):
        """Drop the calls that wait: no response to them could be sent."""
        self.waiting = []

    cdef long decoded(self, bytes data, double now) except? -1:
        cdef list groups = self.decode(data, <long long>(now * 1_000_000))
        if groups:
            self.waiting += groups
        if groups or self.opened:
            self.last_call = now
            self.asked = True
        return PyBytes_GET_SIZE(data) // READ_COST + self.inflated_bytes() // INFLATED_COST

    cdef long served(self, long room) except? -1:
        """Keep no reference to a call: if its handler dropped it, the flush that follows must fail it."""
        cdef long spent = 0
        cdef long cost
        cdef Py_ssize_t taken
        cdef list calls
        while spent < room and self.waiting:
            handler, calls = self.waiting[0]
            try:
                taken, cost = handler(calls, room - spent)
            except Exception as error:  # an error in a handler must not close the connection
                self.report(error)
                taken = cost = self.fail(calls)
            spent += cost
            if taken < len(calls):
                del calls[:taken]
            elif self.waiting:
                del self.waiting[0]
        return spent

    cdef Py_ssize_t fail(self, list calls):
        """Fail the calls that have no answer yet, and return the number of all."""
        cdef UnaryCall call
        for call in calls:
            if not call.is_answered():
                call.fail(13, "internal error")  # INTERNAL
        return len(calls)

    @property
    def waits(self):
        """True if calls wait for their handlers."""
        return len(self.waiting) > 0

    @property
    def settled(self):
        """True if nothing is left to do: no call waits, no stream has an event, and the connection goes on."""
        return (not self.waiting and self.connection.notified == NULL and not self.opened and not self.more
                and not self.ended())
