#!/usr/bin/env node
/*
 * bnode-peer.js - an independent full node (npm `bcash` or `bcoin`) that LISTENS on
 * 127.0.0.1, on regtest, with a chain of its own mined on the spot.
 *
 *   node bnode-peer.js --root DIR [options]
 *
 *   --root DIR        package directory (.../node_modules/bcash or .../bcoin)
 *   --magic HEX       4 wire bytes, e.g. dab5bffa (BSV regtest); default: the package's own
 *   --agent STR       user agent; default: the package's own
 *   --version N       protocol version to announce
 *   --blocks N        mine N blocks before READY (milliseconds each)
 *   --txs N           put N transactions in the mempool (needs --blocks >= 100 + N)
 *   --addrs N         put N (at most 250) addresses in the address table, for `addr`
 *
 * Prints `READY {json}` once it listens, then one JSON line for each thing that happens:
 * a message received, a peer opened or closed. Commands on stdin, one a line:
 *   mine [n]   mine and announce n blocks     tx [n]    make and announce n transactions
 *   ping       ping every peer                peers     list the connected peers
 * The end of stdin ends it.
 *
 * It never dials out: discovery, seeds, UPnP and outbound slots are switched off, and the
 * socket factory throws. It bans nobody: all test peers have the same address.
 */
'use strict';

const readline = require('readline');
const { options, say, report } = require('./script');
const load = require('./bnode');

const args = options();
const num = (name) => Number(args[name] || 0);
const { lib, network, name, impl } = load(args.root, args.magic);
// The packages ship about a thousand REAL node addresses and hand them out in `addr`;
// forget them, so that no test can be led to dial one.
lib('net/seeds').get = () => [];

const FullNode = lib('node/fullnode');
const NetAddress = lib('net/netaddress');
const KeyRing = lib('primitives/keyring');
const MTX = lib('primitives/mtx');
const Coin = lib('primitives/coin');
const Script = lib('script/script');
// Queued invs are flushed every 5 s otherwise.
lib('net/peer').INV_INTERVAL = 100;

// ------------------------------------------------------------------ the node
const key = KeyRing.generate(network);
key.witness = false;
const node = new FullNode({
  network: 'regtest',
  memory: true,
  workers: false,
  listen: true,
  host: '127.0.0.1',
  port: 1,                   // 0 is refused here; set below
  maxInbound: 64,
  compact: true,
  bip37: true,
  upnp: false,
  seeds: [],
  nodes: [],
  only: [],
  logLevel: 'none',
  logFile: false,
  logConsole: false,
  createSocket: () => { throw new Error('outbound connections are disabled'); },
});
const { chain, pool, miner, mempool } = node;
miner.addresses = [key.getAddress()];

// Never leave loopback, never look anything up.
node.http.open = async () => {};
node.http.close = async () => {};
pool.discoverGateway = async () => false;
pool.discoverExternal = async () => {};
pool.discoverSeeds = async () => {};
pool.fillOutbound = () => {};
pool.refill = () => {};
pool.addLoader = () => {};
pool.addOutbound = () => {};
pool.ban = () => {};

pool.options.port = 0;
if (args.agent) pool.options.agent = args.agent;
if (args.version) pool.options.version = num('version');

// ------------------------------------------------------------------- helpers
const spendable = [];        // coinbases of ours: {tx, height}
async function mine(n) {
  for (let i = 0; i < n; i++) {
    const block = await miner.mineBlock(chain.tip);
    const entry = await chain.add(block);
    if (!entry) throw new Error('our own block was refused');
    spendable.push({ tx: block.txs[0], height: entry.height });
  }
}

async function makeTx() {
  const i = spendable.findIndex((s) => chain.height + 1 - s.height >= 100);
  if (i < 0) throw new Error('no mature coinbase: mine more blocks');
  const { tx, height } = spendable.splice(i, 1)[0];
  const coin = Coin.fromTX(tx, 0, height);
  const mtx = new MTX();
  mtx.addCoin(coin);
  // A data output of fixed size keeps the transaction above 100 bytes.
  mtx.addOutput(key.getAddress(), coin.value - 20000);
  mtx.addOutput(Script.fromNulldata(Buffer.from(`bnode-peer ${height}`)), 0);
  mtx.sign(key, name === 'bcash' ? Script.hashType.ALL | Script.hashType.SIGHASH_FORKID : undefined);
  const done = mtx.toTX();
  const missing = await mempool.addTX(done);
  if (missing) throw new Error('transaction has missing inputs');
  return done;
}

function fillAddrs(n) {
  for (let i = 0; i < n; i++) {
    // Still loopback, should a client dial them.
    const addr = NetAddress.fromHost(`127.0.1.${i + 1}`, 8333, network);
    addr.services = 1;
    addr.time = network.now() - 60 * (i + 1);
    pool.hosts.add(addr);
  }
}

/* The hash of the best block as people write it: bcash has buffers, bcoin has hex. */
function tip() {
  const hash = chain.tip.rhash();
  return Buffer.isBuffer(hash) ? hash.toString('hex') : hash;
}

function peers() {
  const list = [];
  for (let p = pool.peers.head(); p; p = p.next) {
    list.push({ agent: p.agent, version: p.version, minPing: p.minPing });
  }
  return list;
}

const commands = {
  mine: async (n) => { await mine(n); say('mined', { height: chain.height, tip: tip() }); },
  tx: async (n) => { for (let i = 0; i < n; i++) say('made-tx', { txid: (await makeTx()).txid() }); },
  ping: async () => { for (let p = pool.peers.head(); p; p = p.next) p.sendPing(); },
  peers: async () => say('peers', { list: peers() }),
};

// ----------------------------------------------------------------- lifecycle
function fail(e) {
  process.stderr.write(`${e && e.stack}\n`);
  process.exit(1);
}
process.on('unhandledRejection', fail);
node.on('error', (e) => say('node-error', { error: e.message }));
pool.on('peer open', (p) => say('peer-open', {
  agent: p.agent, version: p.version, services: p.services, height: p.height }));
pool.on('peer close', () => say('peer-close'));
pool.on('packet', (packet) => say('recv', { cmd: packet.cmd }));

(async () => {
  await node.open();
  chain.synced = true;       // there is nobody to sync from: serve at once
  await mine(num('blocks'));
  for (let i = 0; i < num('txs'); i++) await makeTx();

  const listening = new Promise((resolve) => pool.once('listening', resolve));
  await node.connect();
  const { port } = await listening;
  fillAddrs(num('addrs'));
  report('READY', { impl, port, agent: pool.options.agent, version: pool.options.version,
    height: chain.height, tip: tip(), mempool: mempool.map.size });

  const rl = readline.createInterface({ input: process.stdin });
  rl.on('close', () => process.exit(0));
  rl.on('line', (line) => {
    const [command, n] = line.trim().split(/\s+/);
    commands[command](Number(n || 1)).catch(fail);
  });
})().catch(fail);
