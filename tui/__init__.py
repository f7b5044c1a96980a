"""The terminal UI: a guest of the daemon, in one terminal, over its control socket.

It knows the wire protocol (gateway.control, client, events, text) and Textual, and nothing else of ours. It holds no
state that matters: what it shows is the daemon's, what it does is a call that the command line can make as well.

Read in this order: main.py (start), app.py (the frame and what happens to a key), link.py (the daemon), picture.py
(what the daemon told us), view.py (what every screen is), one file of ``views/``.
"""
