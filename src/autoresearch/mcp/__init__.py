"""
The loop as tools for an agent that wants to drive: an MCP server of one study.

    tools.py       what each tool takes and does
    swarm.py       those of a study in a swarm; mailroom.py does it
    answers.py     the study as data
    desk.py        the study, held open while ideas are tried
    server.py      the tools over MCP
    transports.py  pipes, or HTTP through the door of door.py
    register.py    the lines that tell an agent's program of it

The SDK is an extra: only server.py and transports.py import it, and they only when the server starts.
"""
