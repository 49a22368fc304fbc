"""All fake sites of the tests, and which one to use.

- `ppapi_async.sandbox` (the package's own): true books behind the four dialects, over HTTP, faults
  by name. The usual choice for a session, a stream, a watch, a fleet.
- `raw`: a raw socket that answers by script and counts what arrives, byte for byte. Where it
  matters what really came over the wire: payouts, keys, connections, TLS, answers that are no HTTP.
- `laboratory`: the sandbox's answers behind that raw socket, with a fault before them. The faults,
  and what has to come of each, are in `tests.laboratory`.
- `standin`: a server of version 2.7 from the notes on the wire alone. It shares no code and no
  assumption with the client or the sandbox, and has to stay so: what both of these get wrong shows
  there.
- `simulated`: rows on a clock, without I/O. For the pure modules (windows, planner): thousands of
  cases in a second, and servers that the others do not play.
- `park`: a dozen sandboxes with fifty accounts, which note all that their books ever showed. What a
  fleet tells is compared with that.
- `restless`: a sandbox whose rows change within a fixed set, under changing faults. For leaks.

Give one of these an option before you write another one.
"""
