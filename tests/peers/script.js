/*
 * script.js - what the peers' scripts share: their options, their output, their end.
 */
'use strict';

/* `--name value` and bare `--name` (true) as an object; anything else is an error. */
function options(argv = process.argv.slice(2)) {
  const out = {};
  for (let i = 0; i < argv.length; i++) {
    const m = /^--([a-z-]+)$/.exec(argv[i]);
    if (!m) throw new Error(`unexpected argument ${argv[i]}`);
    out[m[1]] = argv[i + 1] === undefined || argv[i + 1].startsWith('--') ? true : argv[++i];
  }
  return out;
}

/* One line of JSON for something that happened. */
const say = (event, about = {}) => process.stdout.write(`${JSON.stringify({ event, ...about })}\n`);

/* The line that says a listener can be dialled, or what a client has done. */
const report = (word, about) => process.stdout.write(`${word} ${JSON.stringify(about)}\n`);

/* Ends the process when stdin ends: no peer outlives the test that started it, however that dies. */
function endWithStdin() {
  process.stdin.on('end', () => process.exit(1));
  process.stdin.resume();
}

module.exports = { options, say, report, endWithStdin };
