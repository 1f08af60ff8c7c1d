#!/usr/bin/env node
/*
 * bnode-client.js - the Peer class of npm `bcash` or `bcoin` as a CLIENT that dials a
 * listener on 127.0.0.1 and exercises it.
 *
 *   node bnode-client.js --root DIR --port N [--magic dab5bffa] [--agent STR] [--version N]
 *       [--txs N] [--seconds 20]
 *
 *   --root DIR   package directory (.../node_modules/bcash or .../bcoin)
 *   --txs N      how many transactions it must be told of and given (default 0)
 *
 * After the handshake: ping, getaddr, getheaders from genesis, mempool, getdata for the
 * block of the last header and for each transaction of an inv. Prints one JSON line for
 * each message received and a last `DONE {json}`, as soon as it has an answer to everything;
 * exit status 0. When the answers do not come in --seconds, or the listener hangs up: 1.
 */
'use strict';

const { options, say, report, endWithStdin } = require('./script');
const load = require('./bnode');

const args = options();
const { lib, network, name, impl } = load(args.root, args.magic);
const Peer = lib('net/peer');
const NetAddress = lib('net/netaddress');
const packets = lib('net/packets');
const InvItem = lib('primitives/invitem');
const Logger = require(require.resolve('blgr', { paths: [args.root] }));

const settings = { network, logger: new Logger('none'), hasWitness: () => false };
if (args.agent) settings.agent = args.agent;
if (args.version) settings.version = Number(args.version);
const peer = Peer.fromOptions(settings);
const hashOf = (header) => header.hash(...(name === 'bcoin' ? ['hex'] : []));

const stats = { impl, recv: {}, headers: 0, addrs: 0, blockTxs: 0, txs: 0 };
const txs = Number(args.txs || 0);

function finish(error) {
  if (error) stats.error = error;
  report('DONE', stats);
  process.exit(error ? 1 : 0);
}

function finishWhenAnswered() {
  const { addr, headers, block } = stats.recv;
  stats.pingMs = peer.minPing;     // of a pong with the nonce of its ping; -1 before
  if (stats.pingMs >= 0 && addr && headers && block && stats.txs >= txs) finish();
}

peer.on('error', (e) => finish(e.message));
peer.on('close', () => finish('the listener closed the connection'));
peer.on('packet', (packet) => {
  stats.recv[packet.cmd] = (stats.recv[packet.cmd] || 0) + 1;
  say('recv', { cmd: packet.cmd });
  switch (packet.cmd) {
    case 'headers':
      stats.headers += packet.items.length;
      for (const header of packet.items.slice(-1)) {
        peer.send(new packets.GetDataPacket([new InvItem(InvItem.types.BLOCK, hashOf(header))]));
      }
      break;
    case 'addr': stats.addrs += packet.items.length; break;
    case 'inv': peer.send(new packets.GetDataPacket(packet.items)); break;
    case 'block': stats.blockTxs = packet.block.toBlock().txs.length; break;
    case 'tx': stats.txs += 1; break;
    default:
  }
  finishWhenAnswered();
});

endWithStdin();
setTimeout(() => finish('not everything was answered in time'), 1000 * Number(args.seconds || 20));
(async () => {
  peer.connect(NetAddress.fromHost('127.0.0.1', Number(args.port), network));
  await peer.open();
  stats.remote = { agent: peer.agent, version: peer.version, services: peer.services, height: peer.height };
  peer.sendPing();
  peer.sendGetAddr();
  peer.send(new packets.GetHeadersPacket([network.genesis.hash]));
  peer.send(new packets.MempoolPacket());
})().catch((e) => finish(e.message));
