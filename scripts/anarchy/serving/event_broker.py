"""Relay of Dynamo's ZMQ event plane in its broker mode, listening on two addresses of ours.

Runs under the serving environment's Python, as a file: `python event_broker.py tcp://HOST:PUBLISH
tcp://HOST:SUBSCRIBE`. Imports nothing of this package.
"""

from __future__ import annotations

import sys

import zmq


def main(publish_address: str, subscribe_address: str) -> None:
    """Relay for ever; no message is dropped for want of queue space."""
    context = zmq.Context()
    publishers = context.socket(zmq.XSUB)
    subscribers = context.socket(zmq.XPUB)
    for side, address in ((publishers, publish_address), (subscribers, subscribe_address)):
        side.set_hwm(0)
        side.bind(address)
    zmq.proxy(publishers, subscribers)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
