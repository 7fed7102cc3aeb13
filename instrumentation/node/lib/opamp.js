'use strict';
// The OpAMP agent of this process (docs/opamp.md): polls for levels, at once when an export's answer shows another configuration,
// applies them and says so.

const { diag } = require('@opentelemetry/api');
const { STATUS, decodeServerToAgent, encodeAgentToServer, instanceUid } = require('./opamp-messages');

const POLL_MS = 30_000;
const POLL_MS_MAX = 300_000; // after failures: there may be no OpAMP server at all
const TIMEOUT_MS = 5_000;
const GOODBYE_MS = 500;

/** @typedef {(body: Uint8Array, timeoutMs: number) => Promise<{status: number, body: Buffer}>} Post */

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
    this.#schedule(0);
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
    try {
      for (let again = true; again && !this.closed;) again = await this.#exchange();
      this.failures = 0;
    } catch (error) {
      this.failures += 1;
      this.full = true; // what the server knows of us is uncertain
      diag.debug(`otel-ingest: OpAMP: ${/** @type {Error} */ (error).message}`);
    }
    const wait = Math.min(POLL_MS * 2 ** Math.max(this.failures - 1, 0), POLL_MS_MAX);
    this.#schedule(wait * (0.9 + 0.2 * this.random()));
  }

  /** One message and its answer. @returns {Promise<boolean>} whether there is more to say at once */
  async #exchange() {
    const { status, full } = this;
    const message = encodeAgentToServer({
      uid: this.uid, sequence: this.sequence++, description: full ? this.description : undefined, remoteStatus: status,
      effective: full || status || this.effectiveChanged ? { loggers: this.levels.effective() } : undefined,
    });
    const answer = await this.post(message, TIMEOUT_MS);
    if (answer.status !== 200) throw new Error(`HTTP ${answer.status}`);
    const incoming = decodeServerToAgent(answer.body);
    if (incoming.error) throw new Error(incoming.error);
    this.full = incoming.reportFullState;
    if (this.status === status) this.status = undefined;
    this.effectiveChanged = false;
    if (incoming.remoteConfig) this.#apply(incoming.remoteConfig);
    return Boolean(incoming.remoteConfig) || (incoming.reportFullState && !full);
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
    if (this.failures === 0) await this.post(goodbye, GOODBYE_MS).catch(() => {});
  }
}

module.exports = { OpampAgent };
