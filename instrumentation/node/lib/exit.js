'use strict';
// The end of the process, in each of its ways: what is in memory is sent within a budget or put on disk, and then the process
// ends as it would have ended without us, with the same code.

const path = require('node:path');
const { Worker, isMainThread } = require('node:worker_threads');

const SIGNALS = /** @type {const} */ ({ SIGTERM: 15, SIGINT: 2, SIGHUP: 1 });
const DRAINS_MAX = 5; // an application may go on after its loop ran dry, but not for ever by our doing
const COLLECTED_MS = 1000; // so long after them there is nothing new in the metrics
const PID_ONE_GRACE_MS = 100; // the kernel keeps default actions from pid 1; a container would hang until SIGKILL

/**
 * @typedef {object} Ending
 * @property {() => void} cut encode what waits, now
 * @property {() => Promise<void>} collect the metrics of the last interval
 * @property {() => void} lastMetrics the same where nothing asynchronous runs any more
 * @property {() => Promise<void>} goodbye said when the process will not go on
 * @property {() => boolean} waiting whether records wait to be encoded
 * @property {import('./delivery').Delivery} delivery
 * @property {number} budgetMs
 * @property {() => void} stop timers and sockets
 */

class Exit {
  /** @param {Ending} ending */
  constructor(ending) {
    this.ending = ending;
    this.done = false;
    this.tries = 0;
    this.collectedMs = -Infinity; // when the metrics of the last interval were sent off, or kept
    this.gaveUp = false; // the receiver had its time, and more of it would only delay the end
  }

  install() {
    if (isMainThread) for (const signal of /** @type {(keyof typeof SIGNALS)[]} */ (Object.keys(SIGNALS))) this.#onSignal(signal);
    process.on('beforeExit', () => void this.#beforeExit());
    this.#last(() => this.atExit());
  }

  /** Be the last listener of the exit, so that what the application logs in its own is seen. @param {() => void} listener */
  #last(listener) {
    let waits = false;
    process.on('exit', listener);
    process.on('newListener', (event, added) => {
      if (event !== 'exit' || added === listener || waits) return;
      waits = true;
      process.nextTick(() => {
        waits = false;
        process.removeListener('exit', listener);
        process.on('exit', listener);
      });
    });
  }

  /** Send what is there. Resolves within the budget. @param {boolean} last whether the process ends behind this */
  async drain(last) {
    const { cut, collect, goodbye, delivery, budgetMs } = this.ending;
    const start = Date.now();
    let collected = false;
    const collecting = collect().then(() => { collected = true; });
    await within(Promise.all([collecting, last ? goodbye() : undefined]), budgetMs / 2);
    cut();
    await delivery.drain(Math.max(budgetMs - (Date.now() - start), 1));
    this.gaveUp = delivery.pending.length > 0;
    if (collected && last) this.collectedMs = performance.now();
  }

  /** The loop ran dry: the one moment at the end when the network may still be used at leisure. */
  async #beforeExit() {
    const { delivery, waiting } = this.ending;
    const more = this.tries === 0 || ((waiting() || delivery.pending.length > 0) && !this.gaveUp);
    if (!more || this.tries >= DRAINS_MAX) return;
    this.tries += 1;
    await this.drain(true);
  }

  /** @param {keyof typeof SIGNALS} signal */
  #onSignal(signal) {
    const listener = async () => {
      // Whoever listens too decides what becomes of the process; it will end by process.exit or by running dry.
      if (process.listenerCount(signal) - 1 - signalExitListeners() > 0) {
        await this.drain(false);
        return;
      }
      await this.drain(true);
      this.finish();
      process.removeListener(signal, listener);
      process.kill(process.pid, signal);
      if (process.pid === 1) setTimeout(() => process.exit(128 + SIGNALS[signal]), PID_ONE_GRACE_MS);
    };
    process.on(signal, listener);
  }

  /** process.exit, an uncaught exception, or the natural end: nothing asynchronous runs any more. */
  atExit() {
    if (this.done) return;
    const { cut, delivery, budgetMs } = this.ending;
    this.#collectLast();
    cut();
    const batches = delivery.hopeful && !this.gaveUp ? [...delivery.pending] : [];
    delivery.spillSync();
    if (batches.length) delivery.delivered(sendInThread(batches, budgetMs));
    this.#close();
  }

  finish() {
    if (this.done) return;
    this.#collectLast();
    this.ending.cut();
    this.ending.delivery.spillSync();
    this.#close();
  }

  #collectLast() {
    if (performance.now() - this.collectedMs < COLLECTED_MS) return; // an application may go on after its loop ran dry
    try {
      this.ending.lastMetrics();
    } catch (error) {
      this.ending.delivery.report.loud('last metrics', `the metrics of the last interval are lost: ${/** @type {Error} */ (error).message}`);
    }
  }

  #close() {
    this.done = true;
    this.ending.stop();
    this.ending.delivery.spool?.close();
  }
}

/** Listeners of the signal-exit package stand back when others listen, as we do: they are not the application's. */
function signalExitListeners() {
  const emitters = [/** @type {any} */ (globalThis)[Symbol.for('signal-exit emitter')], /** @type {any} */ (process).__signal_exit_emitter__];
  return emitters.reduce((sum, emitter) => sum + (emitter?.count ?? 0), 0);
}

/** @param {Promise<unknown>} promise @param {number} ms */
async function within(promise, ms) {
  /** @type {NodeJS.Timeout | undefined} */
  let timer;
  await Promise.race([promise.catch(() => {}), new Promise((resolve) => { timer = setTimeout(resolve, ms); })]);
  clearTimeout(timer);
}

/**
 * Send from another thread while this one waits: in an exit handler nothing else can use the network.
 * @param {import('./batch').Batch[]} batches @param {number} budgetMs
 * @returns {import('./batch').Batch[]} those that were accepted
 */
function sendInThread(batches, budgetMs) {
  try {
    // 0: how many are settled, or -1 at the end; then one word a batch, 1 when accepted.
    const states = new Int32Array(new SharedArrayBuffer(4 * (batches.length + 1)));
    const worker = new Worker(path.join(__dirname, 'exit-thread.js'), {
      workerData: { otelIngestExit: true, states, batches, budgetMs }, execArgv: [], stdin: false, stdout: false, stderr: false,
      env: { ...process.env, NODE_OPTIONS: '' },
    });
    worker.unref();
    Atomics.wait(states, 0, 0, budgetMs);
    return batches.filter((_, i) => Atomics.load(states, i + 1) === 1);
  } catch {
    return []; // all of them are on disk already
  }
}

module.exports = { Exit };
