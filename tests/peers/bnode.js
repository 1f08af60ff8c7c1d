/*
 * bnode.js - loads npm `bcash` or `bcoin`, in plain JavaScript, with the wire magic asked for.
 */
'use strict';

const Module = require('module');
const path = require('path');

/* The package in `root`, its network parameters set before anything reads them. */
module.exports = function load(root, magic) {
  // The packages' own switch: no native addon is needed, so none has to be compiled.
  process.env.NODE_BACKEND = 'js';
  // All stores are in memory; the database addon does not build on a current Node.
  const realLoad = Module._load;
  Module._load = function loadWithoutDatabase(request, ...rest) {
    try {
      return realLoad.call(this, request, ...rest);
    } catch (e) {
      if (request === 'leveldown' || request === './level') return class NoLevelDown {};
      throw e;
    }
  };

  const lib = (file) => require(path.resolve(root, 'lib', file));
  const pkg = require(path.resolve(root, 'package.json'));
  const networks = lib('protocol/networks');
  if (magic) networks.regtest.magic = Buffer.from(magic, 'hex').readUInt32LE(0);
  networks.regtest.seeds = [];
  networks.regtest.requestMempool = false;
  const network = lib('protocol/network').set('regtest');

  // bcash 1.1.1 asserts, and so ends the whole process, on a header announcing more than
  // 1,000,000 bytes for a command it does not know (extmsg is one) or for `version`.
  if (pkg.name === 'bcash') {
    const packets = lib('net/packets');
    const { isOversized } = packets;
    packets.isOversized = (type, size, max) => {
      if (typeof type !== 'string') return isOversized(type, size, max);
      const number = packets.types[type.toUpperCase()];
      return number ? isOversized(number, size, max) : size > 1000000;
    };
  }
  return { lib, network, name: pkg.name, impl: `${pkg.name}@${pkg.version}` };
};
