"""The console: one page for a wall, a desk and a phone, served from the broker alone.

`link` keeps the connection to the broker in a thread, `picture` (pure) turns what arrives into beds
and alerts, `hub` sends them to browsers, `store` remembers over a restart, `people` and `sessions`
know who may do what, `app` is the ASGI application. `protocol` is what travels between server and
page. Extra `console`.
"""
