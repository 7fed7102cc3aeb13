'use strict';
// All lanes of the process, their shared bounds, and the three ways in which it may end for them.

const { Lane } = require('./lane');

class Delivery {
  /**
   * @param {object} options
   * @param {Partial<Record<import('./signals').SignalName, import('./transport').Transport>>} options.transports
   * @param {import('./spool').Spool} [options.spool]
   * @param {boolean} [options.always]
   * @param {number} options.bytesMax
   * @param {import('./report').Report} options.report
   * @param {(hash: string) => void} [options.onConfigHash]
   * @param {(losses: ReturnType<import('./report').Report['takeLosses']>) => void} [options.onLosses]
   * @param {() => number} [options.random]
   */
  constructor({ transports, spool, always = false, bytesMax, report, onConfigHash = () => {}, onLosses = () => {}, random = Math.random }) {
    this.spool = spool;
    this.report = report;
    this.shared = { spool, always, bytesMax, bytes: 0, report, onConfigHash, onLosses, random };
    /** @type {Map<string, Lane>} */
    this.lanes = new Map();
    for (const [signal, transport] of Object.entries(transports)) {
      this.lanes.set(signal, new Lane(/** @type {any} */ (signal), transport, this.shared));
    }
  }

  /** @param {import('./batch').Batch} batch */
  add(batch) {
    this.lanes.get(batch.signal)?.add(batch);
  }

  /** Look for what processes that are gone left behind, and send it. */
  async adopt() {
    const adopted = await this.spool?.adopt().catch(() => 0);
    if (adopted) for (const lane of this.lanes.values()) lane.kick();
  }

  /** Batches in memory, under way included. */
  get pending() {
    return [...this.lanes.values()].flatMap((lane) => lane.queue);
  }

  /** Whether an attempt now has a chance. */
  get hopeful() {
    return [...this.lanes.values()].some((lane) => lane.queue.length > 0 && lane.failures === 0);
  }

  /** Send what is in memory, within `budgetMs`; resolves in any case. @param {number} budgetMs */
  async drain(budgetMs) {
    /** @type {NodeJS.Timeout | undefined} */
    let timer;
    const over = new Promise((resolve) => { timer = setTimeout(resolve, budgetMs); }); // keeps the process for that long
    await Promise.race([Promise.allSettled([...this.lanes.values()].map((lane) => lane.drain())), over]);
    clearTimeout(timer);
  }

  /** What is still in memory goes to disk; what finds no place is counted and told. */
  spillSync() {
    let homeless = 0;
    for (const lane of this.lanes.values()) {
      const records = lane.spillSync();
      if (records) this.report.lost(lane.signal, records, Date.now(), 'the process ended');
      homeless += records;
    }
    if (homeless) this.report.loud('exit', `the process ends and ${homeless} records could not be sent or kept: they are lost`);
  }

  /** Batches that another thread delivered. @param {import('./batch').Batch[]} batches */
  delivered(batches) {
    for (const batch of batches) {
      const lane = this.lanes.get(batch.signal);
      if (lane) lane.queue = lane.queue.filter((b) => b !== batch);
      if (batch.entry) this.spool?.remove({ name: batch.entry });
      this.report.count('sent', batch.signal, batch.records);
    }
  }
}

module.exports = { Delivery };
