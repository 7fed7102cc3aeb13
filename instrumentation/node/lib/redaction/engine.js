'use strict';
// Redaction of values as telemetry holds them: texts, numbers, and maps and lists nested in each other.

const { Names } = require('./names');
const { TextRules, maskOf } = require('./text');

const FAILED = '[REDACTED: redaction failed]';
const MASKED = /^\['?\[?(?:REDACTED[^\]]{0,40}|HMAC:[0-9a-f]{16})\](?:'\])?$/;
const CARD_NUMBER_MIN = 10 ** 13; // smaller integers hold no card number
const DEPTH_MAX = 30; // deeper than any record, and what the receiver takes; what lies below is replaced
const NODES_MAX = 10_000; // maps and lists of one record: more is a cycle that branches
const KEYS_MAX = 8192;
const KEY_LENGTH_MAX = 128;
const CLEAN_DEPTH_MAX = 6; // deeper values go the long way
const DROPPED = Symbol('to go with its key');

/**
 * What a user may set. `names`, `allow`: more sensitive names; names never sensitive. `only`: where set, any other attribute is
 * dropped. `enable`, `disable`: detectors of rules.json. `patterns`: own detectors, as in rules.json.
 * @typedef {object} Options
 * @property {'mask' | 'drop' | 'hash'} [mode]
 * @property {string} [hash_key]
 * @property {string[]} [names]
 * @property {string[]} [allow]
 * @property {string[]} [only]
 * @property {string[]} [enable]
 * @property {string[]} [disable]
 * @property {any[]} [patterns]
 * @property {(path: string, text: string) => string} [callable] gets each text after the rules
 */

/** @param {unknown} value */
function empty(value) {
  return value === null || value === undefined || value === '' || typeof value === 'boolean'
    || (typeof value === 'object' && Object.keys(/** @type {object} */ (value)).length === 0 && !(value instanceof Date));
}

class Redactor {
  /** @param {any} rules rules.json @param {Options} [options] @throws {TypeError} when the options make no sense */
  constructor(rules, options = {}) {
    const { mode = 'mask', hash_key: key = '', names = [], allow = [], only = [], enable = [], disable = [], patterns = [], callable } = options;
    if (!['mask', 'drop', 'hash'].includes(mode)) throw new TypeError(`redaction mode ${mode} is none of mask, drop, hash`);
    if (mode === 'hash' && !key) throw new TypeError('redaction mode hash needs a key');
    const known = rules.values.map((/** @type {any} */ rule) => rule.name);
    const unknown = [...enable, ...disable].filter((name) => !known.includes(name));
    if (unknown.length) throw new TypeError(`no such redaction rule: ${unknown.join(', ')} (there are ${known.sort().join(', ')})`);
    this.mode = mode;
    this.callable = callable;
    this.only = only.length ? new Set(only) : undefined;
    this.mask = maskOf(mode, rules.mask, key);
    this.maskText = rules.mask;
    this.names = new Names(rules.names, names, allow);
    /** @type {Set<string>} keys without a secret in themselves: there are few, seen over and over */
    this.cleanKeys = new Set();
    this.nodes = 0;
    this.sqlKeys = new Set(rules.sql.keys);
    const enabled = (/** @type {any} */ rule) => !disable.includes(rule.name) && ((rule.enabled ?? true) || enable.includes(rule.name));
    this.texts = new TextRules({ ...rules, values: [...rules.values, ...patterns] }, this.names, this.mask, enabled, names);
  }

  /** A text without its secrets; `found` gains `path:rule`. @param {string} value @param {string} path @param {Set<string>} found */
  text(value, path, found) {
    const clean = this.#rules(value, path, found);
    if (!this.callable) return clean;
    const own = String(this.callable(path, clean));
    if (own !== clean) found.add(`${path}:callable`);
    return own;
  }

  /** @param {string} value @param {string} path @param {Set<string>} found */
  #rules(value, path, found) {
    if (!this.texts.suspicious(value)) return value;
    /** @type {Set<string>} */
    const rules = new Set();
    const clean = this.texts.redact(value, rules, path.endsWith('url.query'));
    if (rules.size === 0) return value;
    for (const rule of rules) found.add(`${path}:${rule}`);
    return clean;
  }

  /** Whether `value` and `mapping` would leave a value as it is: one search a text, nothing copied, for the clean many. @param {any} value @param {number} [depth] @returns {boolean} */
  clean(value, depth = 0) {
    switch (typeof value) {
      case 'string':
        return !this.texts.suspicious(value);
      case 'number':
      case 'bigint':
        return value < CARD_NUMBER_MIN;
      case 'object':
        break;
      default:
        return true;
    }
    if (value === null) return true;
    if (depth >= CLEAN_DEPTH_MAX || value instanceof Uint8Array || value instanceof Date) return false;
    if (Array.isArray(value)) return value.every((item) => this.clean(item, depth + 1));
    for (const key of Object.keys(value)) {
      const plainKey = this.cleanKeys.has(key) || this.#key(key, '', new Set()) === key;
      if (!plainKey || this.names.sensitive(key) || this.sqlKeys.has(key) || !this.clean(value[key], depth + 1)) return false;
    }
    return true;
  }

  /** Whether texts may be judged by `clean` alone: no function of the user's, no list of what may leave. */
  get simple() {
    return !this.callable && !this.only;
  }

  /** Any value without its secrets. @param {any} value @param {string} path @param {Set<string>} found @param {number} [depth] @returns {any} */
  value(value, path, found, depth = 0) {
    switch (typeof value) {
      case 'string':
        return this.text(value, path, found);
      case 'number':
      case 'bigint':
        return this.#number(value, path, found);
      case 'object':
        break;
      default:
        return value;
    }
    if (value === null) return value;
    if (value instanceof Uint8Array) return this.#bytes(value, path, found);
    if (value instanceof Date) return value;
    if (depth === 0) this.nodes = 0;
    if (++this.nodes > NODES_MAX) throw new RangeError('a value without end');
    if (depth >= DEPTH_MAX) {
      found.add(`${path}:depth`);
      return this.maskText;
    }
    if (Array.isArray(value)) return this.#list(value, path, found, depth);
    return this.mapping(value, path, found, depth);
  }

  /** A copy of a map in which no value is secret, by its name or by itself. @param {any} attributes @param {string} path @param {Set<string>} found @param {number} [depth] */
  mapping(attributes, path, found, depth = 0) {
    /** @type {Record<string, any>} */
    const out = {};
    if (depth === 0) this.nodes = 0;
    const only = depth === 0 && !path ? this.only : undefined;
    for (const key of Object.keys(attributes)) {
      const shown = this.#key(key, path, found);
      const where = path ? `${path}.${shown}` : shown;
      if (only && !only.has(key)) {
        found.add(`${where}:only`);
        continue;
      }
      const clean = this.#field(key, attributes[key], where, found, depth);
      if (clean !== DROPPED) out[shown] = clean;
    }
    return out;
  }

  /** @param {string} key @param {string} path @param {Set<string>} found */
  #key(key, path, found) {
    if (this.cleanKeys.has(key)) return key;
    if (!this.texts.suspicious(key)) {
      if (this.cleanKeys.size >= KEYS_MAX) this.cleanKeys.clear();
      if (key.length <= KEY_LENGTH_MAX) this.cleanKeys.add(key);
      return key;
    }
    /** @type {Set<string>} */
    const rules = new Set();
    const shown = this.#rules(key, '', rules);
    for (const rule of rules) found.add((path ? `${path}.${shown}` : shown) + rule);
    return shown;
  }

  /** @param {string} key @param {any} value @param {string} where @param {Set<string>} found @param {number} depth */
  #field(key, value, where, found, depth) {
    if (this.names.sensitive(key) && !empty(value)) return this.#secret(value, where, found);
    let shown = value;
    if (typeof value === 'string' && this.sqlKeys.has(key)) {
      /** @type {Set<string>} */
      const rules = new Set();
      shown = this.texts.redactSql(value, rules);
      for (const rule of rules) found.add(`${where}:${rule}`);
    }
    return this.value(shown, where, found, depth + 1);
  }

  /** A list; in one of arguments, what follows `--password` is a secret. @param {any[]} values @param {string} path @param {Set<string>} found @param {number} depth */
  #list(values, path, found, depth) {
    let follows = false;
    return values.map((item) => {
      const secret = follows && typeof item === 'string' && !item.startsWith('-');
      follows = typeof item === 'string' && item.startsWith('--') && !item.includes('=') && this.names.sensitive(item);
      if (!secret) return this.value(item, path, found, depth + 1);
      const clean = this.#secret(item, path, found);
      return clean === DROPPED ? '' : clean;
    });
  }

  /** Replace a whole value, unless it stands there masked already. @param {any} value @param {string} where @param {Set<string>} found */
  #secret(value, where, found) {
    const text = typeof value === 'string' ? value : textOf(value);
    if (MASKED.test(text) || (Array.isArray(value) && value.length === 1 && MASKED.test(String(value[0])))) return value;
    found.add(`${where}:key`);
    if (this.mode === 'drop') return DROPPED;
    const masked = this.mask(text);
    return Array.isArray(value) ? [masked] : masked;
  }

  /** @param {number | bigint} value @param {string} path @param {Set<string>} found */
  #number(value, path, found) {
    if (value < CARD_NUMBER_MIN || !(typeof value === 'bigint' || Number.isInteger(value))) return value;
    const text = String(value);
    const clean = this.text(text, path, found);
    return clean === text ? value : clean;
  }

  /** @param {Uint8Array} value @param {string} path @param {Set<string>} found */
  #bytes(value, path, found) {
    const text = Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('latin1');
    const clean = this.text(text, path, found);
    return clean === text ? value : Buffer.from(clean, 'latin1');
  }
}

/** @param {any} value @returns {string} */
function textOf(value) {
  try {
    return typeof value === 'object' ? JSON.stringify(value) : String(value);
  } catch {
    return '';
  }
}

module.exports = { Redactor, FAILED };
