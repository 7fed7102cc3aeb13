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
