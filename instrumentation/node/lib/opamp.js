'use strict';
// The OpAMP agent of this process (docs/opamp.md): asks for levels, and the server answers once it has some to tell; where a
// server answers at once instead, it polls, and at once when an export's answer shows another configuration. Applies them, says so.

const { diag } = require('@opentelemetry/api');
const { STATUS, decodeServerToAgent, encodeAgentToServer, instanceUid } = require('./opamp-messages');

const POLL_MS = 30_000;
const POLL_MS_MAX = 300_000; // after failures: there may be no OpAMP server at all
const WAIT_S = 25; // a server that holds a poll: proxies cut what is silent for 30 s
const RETRY_MS = 2_000; // after the first failure of a server that held polls: it starts again
const PAUSE_MS = 1_000; // between polls that came back at once although they were held
const TIMEOUT_MS = 5_000;
const GOODBYE_MS = 500;

/**
 * @typedef {(body: Uint8Array, timeoutMs: number, headers: Record<string, string>) =>
 *   Promise<{status: number, headers: import('node:http').IncomingHttpHeaders, body: Buffer}>} Post
 * @typedef {'more' | 'held' | 'poll'} Next what follows an answer: there is more to say, the poll was held, or it is over for now
 */

class OpampAgent {
  /**
   * @param {object} options
   * @param {Post} options.post
   * @param {import('./levels').Levels} options.levels
   * @param {{identifying: Record<string, any>, other: Record<string, any>}} options.description
   * @param {() => number} [options.random]
   */
  constructor({ post, levels, description, random = Math.random }) {
    this.post = post;
    this.levels = levels;
    this.description = description;
    this.random = random;
    this.uid = instanceUid();
    this.sequence = 0;
    this.failures = 0;
    this.full = true;
    this.closed = false;
    this.again = false; // somebody wanted a poll while one was under way
    this.holds = false; // whether the server kept the last poll that it was asked to keep
    /** @type {string | undefined} hex, of the configuration in force */
    this.applied = undefined;
    /** @type {string | undefined} hex, the hash that the last early poll was for */
    this.askedFor = undefined;
    /** @type {import('./opamp-messages').Outgoing['remoteStatus']} to be said with the next message */
    this.status = undefined;
    this.effectiveChanged = false;
    /** @type {NodeJS.Timeout | undefined} */
    this.timer = undefined;
    /** @type {Promise<void> | undefined} */
    this.polling = undefined;
    levels.onExpired = () => {
      this.effectiveChanged = true;
      this.#now();
    };
  }

  start() {
    this.#now();
  }

  /** An export's answer bore this hash. @param {string} hash */
  seen(hash) {
    if (hash === this.applied || hash === this.askedFor) return;
    this.askedFor = hash;
    this.#now();
  }

  #now() {
    this.again = true;
    if (!this.polling) this.#schedule(0);
  }

  /** @param {number} wait */
  #schedule(wait) {
    if (this.closed) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.polling ??= this.#poll().finally(() => { this.polling = undefined; });
    }, wait);
    this.timer.unref();
  }

  async #poll() {
    const began = performance.now();
    this.again = false;
    /** @type {Next} */
    let next = 'more';
    let wait = POLL_MS * (0.9 + 0.2 * this.random());
    try {
      // Description, configuration, acknowledgement, one that waits: and one to spare.
      for (let i = 0; i < 5 && next === 'more' && !this.closed; i++) next = await this.#exchange();
      if (next === 'held') wait = Math.max(0, PAUSE_MS - (performance.now() - began));
    } catch (error) {
      this.failures += 1;
      this.full = true; // what the server knows of us is uncertain
      wait = Math.min((this.holds ? RETRY_MS : POLL_MS) * 2 ** (this.failures - 1), POLL_MS_MAX) * (0.7 + 0.6 * this.random());
      diag.debug(`otel-ingest: OpAMP: ${/** @type {Error} */ (error).message}`);
    }
    this.#schedule(this.again ? 0 : wait);
  }

  /** One message and its answer. @returns {Promise<Next>} */
  async #exchange() {
    const { status, full } = this;
    const message = encodeAgentToServer({
      uid: this.uid, sequence: this.sequence++, description: full ? this.description : undefined, remoteStatus: status,
      effective: full || status || this.effectiveChanged ? { loggers: this.levels.effective() } : undefined,
    });
    // Not past the end of a rule, which is to be reported.
    const waitS = full ? 0 : Math.min(WAIT_S, Math.floor(this.levels.nextEndS() ?? WAIT_S));
    const answer = await this.post(message, TIMEOUT_MS + 1000 * waitS, waitS ? { Prefer: `wait=${waitS}` } : {});
    if (answer.status !== 200) throw new Error(`HTTP ${answer.status}`);
    const incoming = decodeServerToAgent(answer.body);
    if (incoming.error) throw new Error(incoming.error);
    const waits = /\bwait\s*=/i.test(String(answer.headers['preference-applied'] ?? ''));
    this.failures = 0;
    this.full = incoming.reportFullState;
    if (this.status === status) this.status = undefined;
    this.effectiveChanged = false;
    if (waitS) this.holds = waits;
    if (incoming.remoteConfig) this.#apply(incoming.remoteConfig);
    if (incoming.remoteConfig || full !== this.full) return 'more'; // described: now one that waits; or the server forgot us
    return waits ? 'held' : 'poll';
  }

  /** @param {{hash: Buffer, body: Buffer | undefined}} config */
  #apply({ hash, body }) {
    try {
      const { loggers } = JSON.parse(String(body ?? '{"loggers": []}'));
      this.levels.apply(loggers);
      this.applied = hash.toString('hex');
      this.status = { hash, status: STATUS.APPLIED };
    } catch (error) {
      this.status = { hash, status: STATUS.FAILED, error: /** @type {Error} */ (error).message };
    }
  }

  /** Say goodbye, where the process still has time for it. */
  async close() {
    this.closed = true;
    clearTimeout(this.timer);
    const goodbye = encodeAgentToServer({ uid: this.uid, sequence: this.sequence++, disconnect: true });
    if (this.failures === 0) await this.post(goodbye, GOODBYE_MS, {}).catch(() => {});
  }
}

module.exports = { OpampAgent };
