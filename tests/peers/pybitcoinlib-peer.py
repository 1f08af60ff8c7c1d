#!/usr/bin/env python3
"""pybitcoinlib-peer.py - python-bitcoinlib's message codec as a loopback peer.

  pybitcoinlib-peer.py connect PORT [--magic dab5bffa] [--agent STR] [--version 70001] [--seconds 20]
  pybitcoinlib-peer.py listen       [...]

A classic peer (its own default version is 60002): no sendheaders, protoconf or extmsg; it
skips commands it does not know, and ignores bytes after `relay` in a version message. Its
`headers` codec is wrong (80 bytes a header: the transaction count is neither read nor
written), so only the first header of a reply is used, and the listener answers getheaders
with an empty list.

connect prints `DONE {json}` as soon as ping, getaddr, getheaders and a getdata for the
first header's block are answered, and exits with 0; with 1 when that takes longer than
--seconds or the connection is closed. listen prints `READY {json}`. Both print a JSON line
for each message received, and end with stdin.
"""
import argparse
import contextlib
import json
import os
import socket
import sys
import threading
import time

import bitcoin
import bitcoin.messages as m
from bitcoin.net import CAddress, CInv

ap = argparse.ArgumentParser()
ap.add_argument('mode', choices=['connect', 'listen'])
ap.add_argument('port', type=int, nargs='?', default=0)
ap.add_argument('--magic', default='dab5bffa')
ap.add_argument('--agent')
ap.add_argument('--version', type=int, default=70001)
ap.add_argument('--seconds', type=float, default=20.0)
opt = ap.parse_args()

bitcoin.SelectParams('regtest')
bitcoin.params.MESSAGE_START = bytes.fromhex(opt.magic)
GENESIS = bytes.fromhex('06226e46111a0b59caaf126043eb5bbf28c34f3a5e332a1fc7b2b73cf188910f')
IMPL = 'python-bitcoinlib@' + bitcoin.__version__


def say(event, **about):
    print(json.dumps({'event': event, **about}), flush=True)


def report(word, **about):
    print(word, json.dumps(about), flush=True)


def end_with_stdin():
    sys.stdin.buffer.read()
    os._exit(1)


def version():
    v = m.msg_version(opt.version)
    v.addrTo.ip = v.addrFrom.ip = '127.0.0.1'
    if opt.agent:
        v.strSubVer = opt.agent.encode()
    return v


def read(f):
    """Next message; None for a command the library does not know."""
    with contextlib.redirect_stdout(sys.stderr):   # it prints unknown commands
        return m.MsgSerializable.stream_deserialize(f)


def connect():
    stats = {'impl': IMPL, 'recv': {}}
    try:
        fetch(stats)
    except Exception as e:                                  # noqa: BLE001 - report and end
        stats['error'] = '%s: %s' % (type(e).__name__, e)
    report('DONE', **stats)
    os._exit(1 if 'error' in stats else 0)


def fetch(stats):
    s = socket.create_connection(('127.0.0.1', opt.port), timeout=opt.seconds)
    f = s.makefile('rb')
    send = lambda msg: s.sendall(msg.to_bytes())          # noqa: E731
    until = time.monotonic() + opt.seconds
    send(version())
    while not {'remote', 'pong', 'addrs', 'headers', 'blockTxs'} <= stats.keys():
        s.settimeout(max(until - time.monotonic(), 0.001))
        msg = read(f)
        name = msg.command.decode() if msg else 'unknown'
        stats['recv'][name] = stats['recv'].get(name, 0) + 1
        say('recv', cmd=name)
        if name == 'version':
            stats['remote'] = {'agent': msg.strSubVer.decode(), 'version': msg.nVersion, 'height': msg.nStartingHeight}
            send(m.msg_verack())
        elif name == 'verack':
            send(m.msg_ping(nonce=4711))
            send(m.msg_getaddr())
            ask = m.msg_getheaders()
            ask.locator.vHave = [GENESIS]
            send(ask)
        elif name == 'ping':
            send(m.msg_pong(nonce=msg.nonce))
        elif name == 'pong':
            stats['pong'] = msg.nonce == 4711
        elif name == 'addr':
            stats['addrs'] = len(msg.addrs)
        elif name == 'headers':
            stats['headers'] = len(msg.headers)
            want, inv = m.msg_getdata(), CInv()
            inv.type, inv.hash = 2, msg.headers[0].GetHash()
            want.inv.append(inv)
            send(want)
        elif name == 'block':
            stats['blockTxs'] = len(msg.block.vtx)


def serve(s):
    f = s.makefile('rb')
    send = lambda msg: s.sendall(msg.to_bytes())          # noqa: E731
    try:
        while True:
            msg = read(f)
            name = msg.command.decode() if msg else 'unknown'
            say('recv', cmd=name)
            if name == 'version':
                say('peer-open', agent=msg.strSubVer.decode(), version=msg.nVersion)
                send(version())
                send(m.msg_verack())
            elif name == 'ping':
                send(m.msg_pong(nonce=msg.nonce))
            elif name == 'getaddr':
                reply, a = m.msg_addr(), CAddress()
                a.nTime, a.ip, a.port = int(time.time()), '127.0.1.9', 8333
                reply.addrs.append(a)
                send(reply)
            elif name == 'getheaders':
                send(m.msg_headers())
    except Exception as e:                                  # noqa: BLE001 - report and end
        say('peer-close', error='%s: %s' % (type(e).__name__, e))
        s.close()


def listen():
    server = socket.create_server(('127.0.0.1', 0), backlog=512)
    report('READY', impl=IMPL, port=server.getsockname()[1])
    while True:
        threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()


threading.Thread(target=end_with_stdin, daemon=True).start()
connect() if opt.mode == 'connect' else listen()
