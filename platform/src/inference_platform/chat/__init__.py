"""The chat: a page for people, and the backend that asks the router on its behalf.

The page is `platform/chat`. Read in this order: `settings` (what can be set), `questions` (what a
browser may ask for), `relay` (one answer, streamed), `app` (everything assembled). Streams,
connections, and how a process ends are the router's own code.
"""
