#!/usr/bin/env node
/*
 * bitcore-peer.js - npm `bitcore-p2p` as a CLIENT or as a LISTENER on 127.0.0.1.
 *
 *   node bitcore-peer.js --root DIR --connect PORT [--seconds 20] [options]
 *   node bitcore-peer.js --root DIR --listen [options]
 *
 *   --root DIR      the node_modules directory with bitcore-p2p and bitcore-lib
 *   --magic HEX     wire bytes, default dab5bffa
 *   --agent STR     user agent (default /bitcore:x.y.z/)
 *   --version N     protocol version (default 70012)
 *   --tolerant      pass over unknown fields and the usual unknown commands, as other
 *                   software does; without it the package DISCONNECTS on any of them
 *
 * An old and picky peer: no sendheaders, no feefilter, no extmsg, no association id. The
 * listener sends its verack BEFORE its version, answers version, ping, getaddr and
 * getheaders, and prints `READY {json}`.
 * The client exercises the same and prints `DONE {json}` as soon as all is answered; exit
 * status 0. Both print one JSON line for each message received, and end with stdin.
 */
'use strict';

const net = require('net');
const path = require('path');
const { options, say, report, endWithStdin } = require('./script');

const args = options();
// npm `buffers` 0.1.1 (standing in for the git-only fork that the package names) calls
// Buffer#get, which Node removed long ago.
if (!Buffer.prototype.get) Buffer.prototype.get = function get(i) { return this[i]; };

const modules = path.resolve(args.root);
const bitcore = require(path.join(modules, 'bitcore-lib'));
const { Peer, Messages } = require(path.join(modules, 'bitcore-p2p'));
const impl = `bitcore-p2p@${require(path.join(modules, 'bitcore-p2p/package.json')).version}`;

const network = bitcore.Networks.add({
  name: 'loopback', alias: 'loopback', pubkeyhash: 0x6f, privatekey: 0xef, scripthash: 0xc4,
  bech32prefix: 'bcrt', xpubkey: 0x043587cf, xprivkey: 0x04358394,
  networkMagic: parseInt(args.magic || 'dab5bffa', 16), port: 1, dnsSeeds: [],
}) || bitcore.Networks.get('loopback');

function makeMessages() {
  const messages = new Messages({ network, protocolVersion: Number(args.version || 70012),
    Block: bitcore.Block, Transaction: bitcore.Transaction });
  if (args.tolerant) {
    require(path.join(modules, 'bitcore-p2p/lib/messages/utils')).checkFinished = () => {};
    for (const cmd of ['sendheaders', 'sendcmpct', 'feefilter', 'protoconf', 'authch']) {
      messages.add(cmd, cmd, class Raw {
        constructor(arg, from) { this.command = cmd; this.network = from.network; this.payload = Buffer.alloc(0); }
        setPayload(b) { this.payload = b; }
        getPayload() { return this.payload; }
      });
    }
  }
  return messages;
}

/* A Peer that sends our user agent and tells of each message. */
function wrap(where) {
  const messages = makeMessages();
  const peer = new Peer({ ...where, network, messages });
  const recv = {};
  peer._sendVersion = function sendVersion() {
    const arg = { relay: true };
    if (args.agent) arg.subversion = args.agent;
    this.versionSent = true;
    this.sendMessage(messages.Version(arg));
  };
  // The package swallows parse errors and hangs up; say what it was.
  const read = peer._readMessage.bind(peer);
  peer._readMessage = () => {
    try { return read(); } catch (e) { say('parse-error', { error: e.message }); throw e; }
  };
  const emit = peer.emit.bind(peer);
  peer.emit = (name, message) => {
    if (message && message.command) {
      recv[name] = (recv[name] || 0) + 1;
      say('recv', { cmd: name });
    }
    return emit(name, message);
  };
  peer.on('error', (e) => say('peer-error', { error: e.message }));
  return { peer, messages, recv };
}

function client(port) {
  const { peer, messages, recv } = wrap({ host: '127.0.0.1', port });
  const stats = { impl, recv, headers: 0, addrs: 0, blockTxs: 0, pong: false };
  const finish = (error) => {
    if (error) stats.error = error;
    report('DONE', stats);
    process.exit(error ? 1 : 0);
  };
  const answered = () => {
    if (stats.remote && stats.pong && recv.headers && recv.addr && recv.block) finish();
  };
  peer.on('ready', () => {
    const ping = messages.Ping();
    peer.on('pong', (m) => { stats.pong = m.nonce.equals(ping.nonce); answered(); });
    peer.sendMessage(ping);
    peer.sendMessage(messages.GetAddr());
    peer.sendMessage(messages.GetHeaders({ starts: [genesis.hash] }));
  });
  peer.on('version', (m) => {
    stats.remote = { agent: m.subversion, version: m.version, height: m.startHeight };
    answered();
  });
  peer.on('addr', (m) => { stats.addrs += m.addresses.length; answered(); });
  peer.on('headers', (m) => {
    stats.headers += m.headers.length;
    peer.sendMessage(messages.GetData.forBlock(m.headers[m.headers.length - 1].hash));
  });
  peer.on('block', (m) => { stats.blockTxs = m.block.transactions.length; answered(); });
  peer.on('disconnect', () => finish('the connection was closed'));
  setTimeout(() => finish('not everything was answered in time'), 1000 * Number(args.seconds || 20));
  peer.connect();
}

// The regtest genesis header (same bytes for Bitcoin SV, BTC and BCH).
const genesis = bitcore.BlockHeader.fromBuffer(Buffer.from('0100000000000000000000000000000000000000000000000000000000000000'
  + '000000003ba3edfd7a7b12b27ac72c3e67768f617fc81bc3888a51323a9fb8aa4b1e5e4adae5494dffff7f2002000000', 'hex'));

function listen() {
  const server = net.createServer((socket) => {
    const { peer, messages } = wrap({ socket });
    peer.on('ready', () => say('peer-open', { agent: peer.subversion, version: peer.version }));
    peer.on('disconnect', () => say('peer-close'));
    peer.on('getaddr', () => peer.sendMessage(messages.Addresses([
      { time: new Date(), services: new bitcore.crypto.BN(1), ip: { v6: '0000:0000:0000:0000:0000:ffff:7f00:0109' }, port: 8333 }])));
    peer.on('getheaders', () => peer.sendMessage(messages.Headers([genesis])));   // an empty list is refused by the package
  });
  // Not the package's own Pool.listen: that binds every interface.
  server.listen(0, '127.0.0.1', () => report('READY', { impl, port: server.address().port }));
}

endWithStdin();
if (args.connect) client(Number(args.connect));
else listen();
