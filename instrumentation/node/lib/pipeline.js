'use strict';
// From finished spans and log records to encoded batches: collected without a copy, redacted and encoded in slices between
// the application's own turns. When records come faster than turns do, the caller encodes a batch itself: nothing is dropped here.

const { newBatch } = require('./batch');
const { SIGNALS } = require('./signals');

const RESOURCE_POLL_MS = 20;
const RESOURCE_TRIES_MAX = 50; // a second in all; a detector that takes longer is not waited for
const SLICE_MS = 1; // redacting in one turn of the event loop; a record is begun before that is over
const SLICE_LOOK = 16; // records between two looks at the clock
const WAITING_BYTES_MAX = 4 * 1024 * 1024; // of texts that wait to be encoded: past it the caller encodes, as when the queue is full

/** Bytes of a record's texts, roughly: what is nested deeper than two levels is taken for small. @param {any} item */
function weigh(item) {
  const { body, attributes } = item;
  return (typeof body === 'string' ? body.length : 0) + weighMap(attributes, 1);
}

/** @param {any} map @param {number} deeper @returns {number} */
function weighMap(map, deeper) {
  let bytes = 0;
  for (const key in map) {
    const value = map[key];
    if (typeof value === 'string') bytes += value.length;
    else if (typeof value === 'object' && value !== null && deeper) bytes += weighMap(value, deeper - 1);
  }
  return bytes;
}

class Pipeline {
  /**
   * @param {object} options
   * @param {import('./signals').SignalName} options.signal
   * @param {'protobuf' | 'json'} options.encoding
   * @param {(item: any) => any} options.redact gives a copy that may leave; never throws
   * @param {import('./delivery').Delivery} options.delivery
   * @param {{batchMax: number, queueMax: number, delayMs: number}} options.sizes
   */
  constructor({ signal, encoding, redact, delivery, sizes }) {
    this.signal = signal;
    this.encoding = encoding;
    this.serializer = SIGNALS[signal][encoding];
    this.redact = redact;
    this.delivery = delivery;
    this.sizes = sizes;
    /** @type {any[]} */
    this.raw = [];
    /** @type {any[]} redacted, not yet encoded */
    this.clean = [];
    this.bytes = 0; // of texts in raw, roughly
    /** @type {NodeJS.Timeout | undefined} */
    this.timer = undefined;
    this.stepping = false;
    this.resourceTries = RESOURCE_TRIES_MAX;
  }

  /** @param {any} item */
  add(item) {
    this.raw.push(item);
    this.bytes += weigh(item);
    const { length } = this.raw;
    if (length >= this.sizes.queueMax) this.flushSync(this.sizes.batchMax);
    else if (this.bytes > WAITING_BYTES_MAX) this.flushSync();
    else if (length >= this.sizes.batchMax) this.#step();
    else if (!this.timer && !this.stepping) {
      this.timer = setTimeout(() => this.#step(), this.sizes.delayMs);
      this.timer.unref();
    }
  }

  #step() {
    if (this.stepping) return;
    clearTimeout(this.timer);
    this.timer = undefined;
    this.stepping = true;
    setImmediate(() => {
      this.stepping = false;
      if (this.#resourcePending()) return;
      for (const end = performance.now() + SLICE_MS; this.#redactSome(SLICE_LOOK) && performance.now() < end;);
      if (this.raw.length === 0 || this.clean.length >= this.sizes.batchMax) this.#encode();
      if (this.raw.length) this.#step();
    });
  }

  /** Detectors may still be reading (the host's id): wait a little, so that all batches name the same resource. */
  #resourcePending() {
    if (!this.raw[0]?.resource?.asyncAttributesPending || this.resourceTries-- <= 0) return false;
    this.timer = setTimeout(() => this.#step(), RESOURCE_POLL_MS);
    this.timer.unref();
    return true;
  }

  /** @param {number} most @returns {boolean} whether there was anything to do */
  #redactSome(most) {
    const items = this.raw.splice(0, Math.min(most, this.sizes.batchMax - this.clean.length));
    for (const item of items) this.clean.push(this.redact(item));
    if (this.raw.length === 0) this.bytes = 0;
    return items.length > 0;
  }

  #encode() {
    const items = this.clean;
    this.clean = [];
    if (items.length === 0) return;
    try {
      this.#send(items);
    } catch {
      for (const item of items) this.#sendAlone(item); // one that cannot be encoded costs no neighbour
    }
  }

  /** @param {any[]} items */
  #send(items) {
    const body = this.serializer.serializeRequest(items);
    if (body) this.delivery.add(newBatch(this.signal, this.encoding, body, items.length));
  }

  /** @param {any} item */
  #sendAlone(item) {
    try {
      this.#send([item]);
    } catch (error) {
      this.delivery.report.lost(this.signal, 1, Date.now(), 'it could not be encoded');
      this.delivery.report.loud('encode', `a record cannot be encoded and is lost: ${/** @type {Error} */ (error).message}`);
    }
  }

  /** Redact and encode, now. @param {number} [most] records; all by default */
  flushSync(most = Infinity) {
    for (let done = 0; this.raw.length && done < most; done += this.sizes.batchMax) {
      this.#redactSome(this.sizes.batchMax);
      this.#encode();
    }
    if (most === Infinity) this.#encode();
  }
}

module.exports = { Pipeline };
