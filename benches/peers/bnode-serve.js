#!/usr/bin/env node
/*
 * bnode-serve.js - npm `bcash` or `bcoin` as a peer under load: listens on 127.0.0.1, on regtest,
 * with an empty chain, room for many connections, and not a word about what comes.
 *
 *   node bnode-serve.js --root DIR [--magic HEX]
 *
 *   --root DIR    package directory (.../node_modules/bcash or .../bcoin)
 *   --magic HEX   4 wire bytes; default: the package's own
 *
 * Prints `READY {"impl":..,"port":..}` once it listens; the end of stdin ends it. It dials nobody
 * and bans nobody.
 */
'use strict';

const { options, report, endWithStdin } = require('../../tests/peers/script');
const load = require('../../tests/peers/bnode');

const args = options();
const { lib, impl } = load(args.root, args.magic);
// The packages ship about a thousand REAL node addresses: none must be dialled or handed out.
lib('net/seeds').get = () => [];

const FullNode = lib('node/fullnode');
const node = new FullNode({
  network: 'regtest',
  memory: true,
  workers: false,
  listen: true,
  host: '127.0.0.1',
  port: 1,                   // 0 is refused here; set below
  maxInbound: 20000,
  upnp: false,
  seeds: [],
  nodes: [],
  only: [],
  logLevel: 'none',
  logFile: false,
  logConsole: false,
  createSocket: () => { throw new Error('outbound connections are disabled'); },
});
const { chain, pool } = node;

node.http.open = async () => {};
node.http.close = async () => {};
for (const quiet of ['discoverGateway', 'discoverExternal', 'discoverSeeds']) {
  pool[quiet] = async () => false;
}
for (const quiet of ['fillOutbound', 'refill', 'addLoader', 'addOutbound', 'ban']) {
  pool[quiet] = () => {};
}
pool.options.port = 0;

function fail(e) {
  process.stderr.write(`${e && e.stack}\n`);
  process.exit(1);
}
process.on('unhandledRejection', fail);

(async () => {
  await node.open();
  chain.synced = true;       // there is nobody to sync from: serve at once
  const listening = new Promise((resolve) => pool.once('listening', resolve));
  await node.connect();
  const { port } = await listening;
  report('READY', { impl, port });
  endWithStdin();
})().catch(fail);
