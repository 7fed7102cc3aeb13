'use strict';
// From finished spans and log records to encoded batches: collected without a copy, redacted and encoded in slices between
// the application's own turns. When records come faster than turns do, the caller encodes a batch itself: nothing is dropped here.

const { newBatch } = require('./batch');
const { SIGNALS } = require('./signals');

const RESOURCE_POLL_MS = 20;
const RESOURCE_TRIES_MAX = 50; // a second in all; a detector that takes longer is not waited for
const SLICE = 64; // records redacted in one turn of the event loop, below a millisecond in all but odd cases

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
    /** @type {NodeJS.Timeout | undefined} */
    this.timer = undefined;
    this.stepping = false;
    this.resourceTries = RESOURCE_TRIES_MAX;
  }

  /** @param {any} item */
  add(item) {
    this.raw.push(item);
    const { length } = this.raw;
    if (length >= this.sizes.queueMax) this.flushSync(this.sizes.batchMax);
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
      this.#redactSome(SLICE);
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

  /** @param {number} most */
  #redactSome(most) {
    for (const item of this.raw.splice(0, Math.min(most, this.sizes.batchMax - this.clean.length))) this.clean.push(this.redact(item));
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
