'use strict';
// The way of one signal's batches out of the process: memory, one attempt at a time, backoff, then the spool and replay from it.

const { split } = require('./split');

const RETRIES_MAX = 5; // attempts in a row that may fail before what waits is put on disk
const BACKOFF_FIRST_MS = 500;
const BACKOFF_MAX_MS = 30_000; // after a long outage the first batch arrives within half of that, on average
const BACKOFF_LEAST_MS = 50; // full jitter may say zero; a refused connection must not become a loop

/**
 * @typedef {import('./batch').Batch} Batch
 *
 * @typedef {object} Shared what the lanes of a process have in common
 * @property {import('./spool').Spool | undefined} spool undefined: nothing is put on disk
 * @property {boolean} always write to the spool before the first attempt
 * @property {number} bytesMax memory for encoded batches, all lanes together
 * @property {number} bytes in use now
 * @property {import('./report').Report} report
 * @property {(hash: string) => void} onConfigHash
 * @property {(losses: ReturnType<import('./report').Report['takeLosses']>) => void} onLosses the receiver is there again and may be told
 * @property {() => number} random
 */

class Lane {
  /** @param {import('./signals').SignalName} signal @param {import('./transport').Transport} transport @param {Shared} shared */
  constructor(signal, transport, shared) {
    this.signal = signal;
    this.transport = transport;
    this.shared = shared;
    /** @type {Batch[]} oldest first; the one under way stays in it until it is settled */
    this.queue = [];
    this.failures = 0;
    this.closing = false;
    this.fromSpool = false;
    /** @type {NodeJS.Timeout | undefined} */
    this.timer = undefined;
    /** @type {Promise<void> | undefined} */
    this.running = undefined;
    /** @type {Batch | undefined} the one under way */
    this.current = undefined;
    /** @type {Promise<void> | undefined} */
    this.spilling = undefined;
  }

  /** The receiver is taken for away: what comes goes to disk, and one batch at a time is tried. */
  get down() {
    return this.failures >= RETRIES_MAX;
  }

  /** Take a batch over. Never throws, never waits. @param {Batch} batch */
  add(batch) {
    this.queue.push(batch);
    this.shared.bytes += batch.body.length;
    if (this.shared.always) this.shared.spool?.writeSync(batch);
    while (this.shared.bytes > this.shared.bytesMax && this.#makeRoom());
    if (this.down) this.#spill();
    this.kick();
  }

  /** More than memory may hold, faster than the receiver takes it: the oldest goes to disk, or is lost where there is none. */
  #makeRoom() {
    const oldest = this.queue.find((b) => b !== this.current);
    if (!oldest) return false;
    this.#leave(oldest);
    if (!this.shared.spool?.writeSync(oldest)) {
      this.shared.report.lost(this.signal, oldest.records, oldest.createdMs, 'no room in memory, and none on disk');
      this.shared.report.loud('memory', `no room in memory (${this.shared.bytesMax} bytes) and none on disk: ${oldest.records} ${this.signal} `
        + `are lost, ${this.shared.report.total('dropped')} so far`);
    } else if (!this.shared.always) this.shared.report.count('spooled', this.signal, oldest.records);
    return true;
  }

  /** @param {Batch} batch @returns {boolean} whether it was still in memory */
  #leave(batch) {
    const at = this.queue.indexOf(batch);
    if (at < 0) return false;
    this.queue.splice(at, 1);
    this.shared.bytes -= batch.body.length;
    return true;
  }

  /** Move what waits in memory to disk, one write at a time, beside the event loop. */
  #spill() {
    const { spool, report } = this.shared;
    if (!spool) return;
    this.spilling ??= (async () => {
      for (;;) {
        const batch = this.queue.find((b) => b !== this.current);
        if (!batch || !(await spool.write(batch))) break;
        if (this.#leave(batch)) report.count('spooled', this.signal, batch.records);
        else if (batch.entry) spool.remove({ name: batch.entry }); // delivered, or written by the exit, meanwhile
      }
    })().catch((error) => this.#odd(error)).finally(() => { this.spilling = undefined; });
  }

  /** What cannot happen must not reach the application when it does. @param {Error} error */
  #odd(error) {
    this.current = undefined;
    this.shared.report.loud('odd', `an error of our own in delivery, tried again later: ${error.stack}`);
    this.#failed({ kind: 'retry', detail: error.message });
  }

  /** Go on, unless that happens already or waits for its time. */
  kick() {
    if (this.running || this.timer) return;
    this.running = this.#run().catch((error) => this.#odd(error)).finally(() => { this.running = undefined; });
  }

  /** The receiver is known to be back: go on now. */
  wake() {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.kick();
  }

  async #run() {
    for (;;) {
      const batch = await this.#next();
      if (!batch) return;
      this.current = batch;
      const answer = await this.transport.send(batch);
      this.current = undefined;
      if (answer.configHash) this.shared.onConfigHash(answer.configHash);
      if (!this.#settle(batch, answer)) return;
    }
  }

  /** Fresh and spooled batches by turns, so that neither starves the other; while the receiver is away, the spool's oldest. */
  async #next() {
    const { spool } = this.shared;
    const spooled = !this.closing && spool?.has(this.signal) && (this.down || this.queue.length === 0 || !this.fromSpool);
    if (spooled) {
      const batch = await spool?.oldest(this.signal);
      const inMemory = batch && this.queue.find((b) => b.id === batch.id); // spool=always: sent from memory first
      if (batch && !inMemory) {
        this.fromSpool = true;
        return batch;
      }
    }
    this.fromSpool = false;
    return this.queue[0];
  }

  /** @param {Batch} batch @param {import('./transport').Answer} answer @returns {boolean} whether to go on at once */
  #settle(batch, answer) {
    const { report, spool } = this.shared;
    if (answer.kind === 'retry') return this.#failed(answer);
    this.failures = 0;
    if (answer.kind === 'ok') this.#accepted(batch, answer);
    const halves = answer.kind === 'split' ? safely(() => split(batch)) : undefined;
    if (halves) {
      this.#leave(batch);
      if (batch.entry) spool?.remove({ name: batch.entry });
      this.queue.unshift(...halves);
      for (const half of halves) this.shared.bytes += half.body.length;
    } else if (answer.kind !== 'ok') {
      this.#leave(batch);
      report.count('dead_lettered', this.signal, batch.records);
      const where = this.shared.spool ? `kept in ${this.shared.spool.bury(batch)}` : 'lost, as the spool is off';
      report.loud('refused', `${this.transport.endpoint} refuses for good (${answer.detail}): ${batch.records} ${this.signal} ${where}`);
    }
    return true;
  }

  /** @param {Batch} batch @param {import('./transport').Answer} answer */
  #accepted(batch, { rejected = 0, detail }) {
    const { report, spool } = this.shared;
    this.#leave(batch);
    if (batch.entry) spool?.remove({ name: batch.entry });
    report.count('sent', this.signal, Math.max(batch.records - rejected, 0));
    if (report.untold.size) this.shared.onLosses(report.takeLosses());
    if (rejected > 0) {
      report.count('rejected', this.signal, rejected);
      report.loud('rejected', `${this.transport.endpoint} rejected ${rejected} of ${batch.records} ${this.signal}: ${detail ?? 'no reason given'}`);
    }
  }

  /** @param {import('./transport').Answer} answer */
  #failed(answer) {
    const { report, spool, random } = this.shared;
    this.failures += 1;
    if (this.failures === RETRIES_MAX) {
      const kept = spool ? `until it is back, what comes is kept in ${spool.own}` : 'what comes is kept in memory alone (the spool is off)';
      report.loud('away', `${this.transport.endpoint} does not take ${this.signal} (${answer.detail}); ${kept}`);
    }
    if (this.down) this.#spill();
    clearTimeout(this.timer);
    const most = Math.min(BACKOFF_FIRST_MS * 2 ** Math.min(this.failures, 16), BACKOFF_MAX_MS);
    const wait = Math.max(random() * most, answer.retryAfterMs ?? 0, BACKOFF_LEAST_MS);
    this.timer = setTimeout(() => this.wake(), wait);
    this.timer.unref();
    return false;
  }

  /** Try what is in memory once more, without waiting for backoff: the process ends. */
  async drain() {
    this.closing = true;
    clearTimeout(this.timer);
    this.timer = undefined;
    await this.running;
    if (this.queue.length && !this.timer) {
      this.kick();
      await this.running;
    }
    this.closing = false;
  }

  /** Put what is in memory on disk, now. @returns {number} records that found no place */
  spillSync() {
    let homeless = 0;
    for (const batch of this.queue) {
      const had = Boolean(batch.entry);
      if (!this.shared.spool?.writeSync(batch)) homeless += batch.records;
      else if (!had) this.shared.report.count('spooled', this.signal, batch.records);
    }
    return homeless;
  }
}

/** @template T @param {() => T} work @returns {T | undefined} */
function safely(work) {
  try {
    return work();
  } catch {
    return undefined;
  }
}

module.exports = { Lane, RETRIES_MAX };
