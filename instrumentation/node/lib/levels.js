'use strict';
// Which records reach the store: the application's own levels, overridden by rules with an end, and by verbose requests.
// Nothing here changes what the application writes to its own output.

const { performance } = require('node:perf_hooks');
const { createContextKey, context } = require('@opentelemetry/api');

/** OpenTelemetry's severity numbers by the names that rules use. */
const SEVERITIES = Object.freeze({ TRACE: 1, DEBUG: 5, INFO: 9, WARN: 13, ERROR: 17, FATAL: 21 });
const NAMES = Object.freeze(['TRACE', 'DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL']);
const TIMER_MS_MAX = 2 ** 31 - 1; // what setTimeout can hold

/** Set in the context of a request that is to be logged in full. */
const VERBOSE = createContextKey('otel-ingest verbose');

/** @param {number} severity 1 to 24 @returns {string} */
function severityText(severity) {
  return NAMES[Math.min(Math.max(Math.floor((severity - 1) / 4), 0), 5)];
}

/**
 * @typedef {{id: number, name: string, level: keyof typeof SEVERITIES, expires_in_s: number}} Rule as docs/opamp.md has it
 * @typedef {{id: number, name: string, level: keyof typeof SEVERITIES, until: number}} Running
 */

class Levels {
  /** @param {() => number} [now] monotonic milliseconds */
  constructor(now = () => performance.now()) {
    this.now = now;
    /** @type {Running[]} */
    this.rules = [];
    /** @type {Map<string, number | undefined>} logger name -> severity */
    this.cache = new Map();
    /** @type {NodeJS.Timeout | undefined} */
    this.timer = undefined;
    this.verbose = false;
    /** Nothing may deviate from the application's levels: costs a logger one comparison. */
    this.idle = true;
    /** @type {() => void} told when a rule ended by itself */
    this.onExpired = () => {};
    /** @type {() => void} told when a verbose request had all the records that it may */
    this.onExhausted = () => {};
  }

  /** Whether verbose requests are possible just now; see verbose.js. @param {boolean} on */
  setVerbose(on) {
    this.verbose = on;
    this.idle = !on && this.rules.length === 0;
  }

  /**
   * Take the whole list of rules; an empty one ends all.
   * @param {Rule[]} rules
   * @throws {TypeError} when one of them cannot be applied; nothing is changed then
   */
  apply(rules) {
    const start = this.now();
    const running = rules.map(({ id, name, level, expires_in_s: seconds }) => {
      if (typeof name !== 'string' || !name || !(level in SEVERITIES) || !(Number(seconds) > 0)) {
        throw new TypeError(`cannot apply level ${level} for ${seconds} s to logger ${name}`);
      }
      return { id: Number(id) || 0, name, level, until: start + Number(seconds) * 1000 };
    });
    this.#set(running);
  }

  /** @param {Running[]} rules */
  #set(rules) {
    this.rules = rules;
    this.idle = rules.length === 0 && !this.verbose;
    this.cache.clear();
    clearTimeout(this.timer);
    if (rules.length === 0) return;
    const wait = Math.min(...rules.map((rule) => rule.until)) - this.now();
    this.timer = setTimeout(() => this.#expire(), Math.min(Math.max(wait, 1), TIMER_MS_MAX));
    this.timer.unref();
  }

  #expire() {
    const now = this.now();
    const left = this.rules.filter((rule) => rule.until > now);
    const ended = left.length < this.rules.length;
    this.#set(left);
    if (ended) this.onExpired();
  }

  /** The severity from which on records of a logger are kept, when a rule says so. @param {string} name @returns {number | undefined} */
  threshold(name) {
    if (!this.cache.has(name)) {
      if (this.cache.size > 10_000) this.cache.clear(); // names made up per request must not grow this
      this.cache.set(name, this.#find(name));
    }
    return this.cache.get(name);
  }

  /** @param {string} name */
  #find(name) {
    /** @type {Running | undefined} */
    let best;
    const rank = (/** @type {Running} */ rule) => (rule.name === '*' ? 0 : rule.name.length);
    for (const rule of this.rules) {
      const fits = rule.name === '*' || rule.name === name || name.startsWith(`${rule.name}.`);
      if (fits && (!best || rank(rule) > rank(best) || (rank(rule) === rank(best) && rule.id > best.id))) best = rule;
    }
    return best && SEVERITIES[best.level];
  }

  /**
   * Whether a record is to be kept.
   * @param {string} name of its logger @param {number} severity @param {boolean} enabled by the application's own level
   */
  wants(name, severity, enabled) {
    if (this.idle) return enabled;
    return this.#ruled(name, severity, enabled) || (this.verbose && this.#spend(/** @type {any} */ (context.active().getValue(VERBOSE))));
  }

  /** The same, asked ahead: nothing is counted. @param {string} name @param {number} severity */
  would(name, severity) {
    return !this.idle && (this.#ruled(name, severity, false) || (this.verbose && context.active().getValue(VERBOSE) !== undefined));
  }

  /** @param {string} name @param {number} severity @param {boolean} enabled */
  #ruled(name, severity, enabled) {
    const threshold = this.rules.length ? this.threshold(name) : undefined;
    return threshold === undefined ? enabled : severity >= threshold;
  }

  /** One record more for a verbose request. @param {import('./verbose').Mark | undefined} mark */
  #spend(mark) {
    if (!mark) return false;
    mark.left -= 1;
    if (mark.left >= 0) return true;
    if (!mark.told) {
      mark.told = true;
      this.onExhausted();
    }
    return false;
  }

  /** What is in force, for the server. */
  effective() {
    const now = this.now();
    return this.rules.map(({ name, level, until }) => ({ name, level, remaining_s: Math.round((until - now) / 100) / 10 }));
  }

  /** Seconds until a rule ends; undefined where none is in force. @returns {number | undefined} */
  nextEndS() {
    return this.rules.length ? Math.max(0, Math.min(...this.rules.map((rule) => rule.until)) - this.now()) / 1000 : undefined;
  }

  close() {
    clearTimeout(this.timer);
  }
}

module.exports = { Levels, SEVERITIES, VERBOSE, severityText };
