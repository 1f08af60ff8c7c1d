#!/usr/bin/env node
/*
 * bsvp2p-client.js - npm `bsv-p2p`, a Bitcoin SV client library that knows the extended
 * message header of 70016, as a CLIENT that dials a listener on 127.0.0.1.
 *
 *   node bsvp2p-client.js --root DIR --port N [--magic dab5bffa] [--agent STR]
 *       [--version 70016] [--txs N] [--seconds 20]
 *
 *   --root DIR   .../node_modules/bsv-p2p
 *   --txs N      how many transactions it must be told of and given (default 0)
 *
 * Runs the handshake, ping, getaddr, getheaders from genesis, a getdata for the last block,
 * mempool, and a getdata for each announced transaction. Prints one JSON line for each
 * message received, then `DONE {json}` with the outcome of each step. Exit status 0 when
 * every step was done within --seconds.
 */
'use strict';

const path = require('path');
const { options, say, report, endWithStdin } = require('./script');

const args = options();
const root = path.resolve(args.root);
const Peer = require(root).default;
const pkg = require(path.join(root, 'package.json'));
const peer = new Peer({
  node: '127.0.0.1',
  port: Number(args.port),
  ticker: 'BSV',
  magic: Buffer.from(args.magic || 'dab5bffa', 'hex'),
  version: Number(args.version || 70016),
  user_agent: args.agent,
  autoReconnect: false,
});

const GENESIS = '0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206';
const limit = Number(args.seconds || 20);
const stats = { impl: `${pkg.name}@${pkg.version}`, recv: {}, steps: {}, txs: 0 };
peer.on('message', ({ command }) => {
  stats.recv[command] = (stats.recv[command] || 0) + 1;
  say('recv', { cmd: command });
});
peer.on('version', ({ version }) => {
  stats.remote = { agent: version.user_agent, version: version.version, height: version.start_height };
});
peer.on('error_message', ({ error }) => { stats.error = error.message; });
peer.on('error_socket', ({ error }) => { stats.error = error.message; });
peer.fetchMempoolTxs((txids) => txids);          // ask for every announced transaction
const givenTxs = new Promise((resolve) => {
  peer.on('tx_mempool', () => {
    stats.txs += 1;
    if (stats.txs >= Number(args.txs || 0)) resolve();
  });
});

async function step(name, run) {
  stats.steps[name] = { ok: false };
  stats.steps[name] = { ok: true, ...(await run()) };
}

function finish(error) {
  if (error) stats.error = stats.error || String(error.message || error);
  report('DONE', stats);
  process.exit(stats.error ? 1 : 0);
}

endWithStdin();
setTimeout(() => finish('not everything was answered in time'), 1000 * limit);
(async () => {
  await step('handshake', async () => { await peer.connect(); return { extmsg: peer.extmsg }; });
  await step('ping', async () => { await peer.ping(limit); });
  await step('getaddr', async () => ({ addrs: (await peer.getAddr(limit)).addrs.length }));
  let headers = [];
  await step('getheaders', async () => {
    headers = await peer.getHeaders({ from: Buffer.from(GENESIS, 'hex'), timeoutSeconds: limit });
    return { headers: headers.length };
  });
  await step('getdata-block', async () => {
    const got = await peer.getBlock(headers[headers.length - 1].getHash(), limit);
    return { txs: got.block && got.block.txRead };
  });
  await step('mempool', async () => {
    peer.getMempool();
    if (args.txs) await givenTxs;
  });
})().then(() => finish(), finish);
