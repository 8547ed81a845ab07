"""The yardstick: taking a signed bet as a competent Django developer would, the plain way.

A DRF view, a serializer and the ORM in `transaction.atomic`, one request at a time, on the same
SQLite file settings (WAL, synchronous=FULL, BEGIN IMMEDIATE), with the same recovery function,
the same texts and the same checks: form, chain, signature, time window, wallet known and not
frozen, grid and lock, preset, rate against a quote, nonce, one bet a wallet and cell, balance.
A 202 is sent after the commit of the bet, its ledger entry and the balance.

Nothing is slow on purpose: persistent connections, one middleware, no authentication classes,
four statements a bet, constraints instead of look-ups, all checks that need no row before the
write lock is taken, a reply without a serializer, and the WSGI server and number of workers that
were the fastest (see `rows/peer.py`).

What it leaves out would only make it slower: the house's side of the entry and its balance, seals,
session keys, rate limits, nonces in Redis, limits of exposure, the price feed (its quote is a
constant), pricing and confirmation, sockets, metrics.

Python modules: settings, models, serializers, views, urls, wsgi. Environment: PEER_DATABASE, the
path of its file.
"""
