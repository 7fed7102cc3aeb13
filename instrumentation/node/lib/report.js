'use strict';
// What became of the records: counts for the metric, and the loud local line when some were lost or kept back.

const fs = require('node:fs');

const LINE_INTERVAL_MS = 60_000; // one line a minute and kind: loud, not a flood

/** @typedef {'sent' | 'spooled' | 'dropped' | 'dead_lettered' | 'rejected'} Outcome */

class Report {
  /** @param {{write?: (line: string) => void, now?: () => number}} [io] */
  constructor(io = {}) {
    this.write = io.write ?? toStderr;
    this.now = io.now ?? Date.now;
    /** @type {Map<string, number>} "outcome signal" -> records */
    this.counts = new Map();
    /** @type {Map<string, {at: number, held: number}>} */
    this.lines = new Map();
    /** @type {Map<string, {records: number, firstMs: number, lastMs: number, why: string}>} signal -> what the receiver was not told yet */
    this.untold = new Map();
  }

  /** Records are lost: counted for the metric, and for the record that tells the receiver. @param {string} signal @param {number} records @param {number} atMs @param {string} why */
  lost(signal, records, atMs, why) {
    this.count('dropped', signal, records);
    const open = this.untold.get(signal) ?? { records: 0, firstMs: atMs, lastMs: atMs, why };
    this.untold.set(signal, {
      records: open.records + records, firstMs: Math.min(open.firstMs, atMs), lastMs: Math.max(open.lastMs, atMs), why,
    });
  }

  /** What was lost since the last time. @returns {{sentence: string, attributes: Record<string, any>}[]} */
  takeLosses() {
    const told = [...this.untold].map(([signal, { records, firstMs, lastMs, why }]) => ({
      sentence: `lost ${records} ${signal} from ${new Date(firstMs).toISOString()} to ${new Date(lastMs).toISOString()}: ${why}`,
      attributes: {
        'otel_ingest.lost.signal': signal, 'otel_ingest.lost.count': records, 'otel_ingest.lost.first': firstMs * 1e6, 'otel_ingest.lost.last': lastMs * 1e6,
      },
    }));
    this.untold.clear();
    return told;
  }

  /** @param {Outcome} outcome @param {string} signal @param {number} records */
  count(outcome, signal, records) {
    const key = `${outcome} ${signal}`;
    this.counts.set(key, (this.counts.get(key) ?? 0) + records);
  }

  /** @param {Outcome} outcome */
  total(outcome) {
    let sum = 0;
    for (const [key, records] of this.counts) if (key.startsWith(`${outcome} `)) sum += records;
    return sum;
  }

  /**
   * One CRITICAL line on stderr, at most one a minute for each kind; what was held back is counted in the next.
   * @param {string} kind @param {string} sentence
   */
  loud(kind, sentence) {
    const last = this.lines.get(kind);
    const now = this.now();
    if (last && now - last.at < LINE_INTERVAL_MS) {
      last.held += 1;
      return;
    }
    const more = last?.held ? ` (${last.held} more like it in between)` : '';
    this.lines.set(kind, { at: now, held: 0 });
    this.write(critical(`${sentence}${more}`));
  }
}

/** @param {string} sentence @returns {string} the line */
function critical(sentence) {
  return `${new Date().toISOString()} CRITICAL otel-ingest-instrumentation[${process.pid}]: ${sentence}\n`;
}

/** Past console and process.stderr, which others may have wrapped. @param {string} line */
function toStderr(line) {
  try {
    fs.writeSync(2, line);
  } catch {
    // stderr is closed or full: there is nobody to tell
  }
}

module.exports = { Report, critical, toStderr };
