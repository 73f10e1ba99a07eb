"""
The live page: what a study's log says, on loopback, as it is being written.

    rows.py     a trial as a row, the study as a head; pure functions of State
    feed.py     follows the log, and knows what changed since a reader last looked
    detail.py   one trial in full: diff, runs, curves, the ends of its output
    machine.py  how busy this machine is, GPUs too
    peers.py    the swarm that the study takes part in, if any
    token.py    the secret that steering takes
    app.py      the addresses, and who may ask for what
    several.py  the list of several studies, and the way to the page of each
    serve.py    a server around it
    static/     the page itself; uPlot is vendored by tools/vendor.py

A reader of the log like any other: it writes nothing but wishes into the inbox.
"""
