'use strict';
// The thread that an exit handler waits for: sends the batches it was given, marks each accepted one, and says when it is through.

const { workerData } = require('node:worker_threads');
const { transportFor } = require('./transport');

async function main() {
  const { states, batches, budgetMs } = workerData;
  const deadline = Date.now() + budgetMs;
  setTimeout(() => {}, budgetMs); // exports keep no loop alive by themselves
  /** @type {Map<string, import('./transport').Transport>} */
  const transports = new Map();
  for (const [i, batch] of batches.entries()) {
    const transport = transports.get(batch.signal) ?? transportFor(batch.signal);
    transports.set(batch.signal, transport);
    const left = deadline - Date.now();
    const answer = left > 0 ? await transport.send(batch, left) : { kind: 'retry' };
    if (answer.kind !== 'ok') break;
    Atomics.store(states, i + 1, 1);
  }
  Atomics.store(states, 0, 1);
  Atomics.notify(states, 0);
  process.exit();
}

void main();
