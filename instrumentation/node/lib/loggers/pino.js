'use strict';
// pino: the line that pino has made, with its serializers and its own redaction, is read back and kept. Methods below the
// logger's level, which pino replaces by nothing, get a gate: one comparison, unless a rule or a verbose request wants more.

const { InstrumentationBase, InstrumentationNodeModuleDefinition } = require('@opentelemetry/instrumentation');
const { emit, exceptionAttributes } = require('./emit');

const VERSIONS = ['>=7 <11'];
const DROPPED = new Set(['time', 'level', 'pid', 'hostname', 'trace_id', 'span_id', 'trace_flags']); // the record and its resource say these

/** pino's 10 to 60 onto 1 to 21, levels between in proportion. @param {number} level */
function severityOf(level) {
  return Math.min(Math.max(Math.floor((level - 10) * 0.4) + 1, 1), 24);
}

class PinoAdapter extends InstrumentationBase {
  /** @param {import('../levels').Levels} levels */
  constructor(levels) {
    super('otel-ingest-instrumentation/pino', '0', {});
    this.levels = levels;
    /** @type {WeakSet<object>} */
    this.patched = new WeakSet();
  }

  init() {
    return [new InstrumentationNodeModuleDefinition('pino', VERSIONS, (exports) => {
      const isModule = exports[Symbol.toStringTag] === 'Module';
      const pino = isModule ? exports.default : exports;
      const adapter = this;
      const watched = Object.assign((/** @type {any[]} */ ...args) => {
        const logger = pino(...args);
        adapter.#patch(Object.getPrototypeOf(logger), pino.symbols, logger);
        return logger;
      }, pino);
      watched.pino = watched;
      watched.default = watched;
      if (!isModule) return watched;
      exports.default = watched;
      if (exports.pino) exports.pino = watched;
      return exports;
    })];
  }

  /** The prototype of all loggers, once; and this one logger, whose level was set before. @param {any} proto @param {any} symbols @param {any} logger */
  #patch(proto, symbols, logger) {
    if (!this.patched.has(proto)) {
      this.patched.add(proto);
      patchLevels(proto, symbols, this.levels);
      patchWrite(proto, symbols, this.levels);
    }
    logger.level = logger.level; // eslint-disable-line no-self-assign -- makes its methods anew
  }
}

/** @type {boolean} set while a gate lets a record through that the application's own output must not see */
let gated = false;

/** @param {any} proto @param {any} symbols @param {import('../levels').Levels} levels */
function patchLevels(proto, symbols, levels) {
  const { setLevelSym, levelCompSym, levelValSym } = symbols;
  const setLevel = proto[setLevelSym];
  proto[setLevelSym] = /** @this {any} @param {any} level */ function (level) {
    const compare = this[levelCompSym];
    if (typeof compare !== 'function') return setLevel.call(this, level); // an older pino: no gates
    this[levelCompSym] = () => true; // have pino make all methods, then close those below the level
    try {
      setLevel.call(this, level);
    } finally {
      this[levelCompSym] = compare;
    }
    for (const [key, value] of Object.entries(this.levels.values)) {
      if (Number.isFinite(value) && !compare(value, this[levelValSym])) this[key] = gate(this[key], value, levels);
    }
  };
  const { isLevelEnabled } = proto;
  proto.isLevelEnabled = function (/** @type {string} */ level) {
    if (isLevelEnabled.call(this, level)) return true;
    const value = this.levels.values[level];
    return value !== undefined && !levels.idle && levels.would(nameOf(this, symbols), severityOf(value));
  };

  /** @param {Function} method @param {number} value @param {import('../levels').Levels} rules */
  function gate(method, value, rules) {
    const severity = severityOf(value);
    return /** @this {any} */ function () {
      if (rules.idle || !rules.wants(nameOf(this, symbols), severity, false)) return;
      gated = true;
      try {
        method.apply(this, arguments);
      } finally {
        gated = false;
      }
    };
  }
}

const silent = { write() {}, flushSync() {} };

/** @param {any} proto @param {any} symbols @param {import('../levels').Levels} levels */
function patchWrite(proto, symbols, levels) {
  const { writeSym, asJsonSym, streamSym, hooksSym } = symbols;
  const asJson = proto[asJsonSym];
  const write = proto[writeSym];
  /** @type {string | undefined} */
  let line;
  proto[asJsonSym] = function (/** @type {any[]} */ ...args) {
    line = asJson.apply(this, args);
    return line;
  };
  proto[writeSym] = function (/** @type {any} */ object, /** @type {any} */ message, /** @type {number} */ level) {
    const hidden = gated;
    gated = false; // what a serializer logs is a record of its own
    if (hidden) writeUnseen(this, write, object, message, level);
    else write.call(this, object, message, level);
    const made = line;
    line = undefined;
    try {
      if (made === undefined || !(hidden || levels.wants(nameOf(this, symbols), severityOf(level), true))) return;
      const hook = this[hooksSym]?.streamWrite;
      keep(this, symbols, hook ? hook(made) : made, level);
    } catch {
      // the application has its line; a copy that cannot be made is not its concern
    }
  };

  /** @param {any} logger @param {Function} original @param {any} object @param {any} message @param {number} level */
  function writeUnseen(logger, original, object, message, level) {
    const own = Object.getOwnPropertyDescriptor(logger, streamSym);
    logger[streamSym] = silent;
    try {
      original.call(logger, object, message, level);
    } finally {
      if (own) Object.defineProperty(logger, streamSym, own);
      else delete logger[streamSym];
    }
  }
}

/** @type {WeakMap<object, {bindings: string, name: string}>} */
const names = new WeakMap();

/** The name among the bindings, the last as the child's wins. @param {any} logger @param {any} symbols */
function nameOf(logger, symbols) {
  const bindings = logger[symbols.chindingsSym] ?? '';
  const known = names.get(logger);
  if (known && known.bindings === bindings) return known.name;
  const found = /** @type {RegExpMatchArray[]} */ ([...bindings.matchAll(/,"name":("(?:[^"\\]|\\.)*")/g)]).at(-1);
  const name = found ? String(JSON.parse(found[1])) || 'pino' : 'pino';
  names.set(logger, { bindings, name });
  return name;
}

/** @param {any} logger @param {any} symbols @param {string} line @param {number} level */
function keep(logger, symbols, line, level) {
  const record = JSON.parse(line);
  const name = nameOf(logger, symbols);
  const messageKey = logger[symbols.messageKeySym];
  const errorKey = logger[symbols.errorKeySym] ?? 'err'; // pino 7 has no symbol for it
  const error = record[errorKey];
  const thrown = Boolean(error) && typeof error === 'object';
  /** @type {Record<string, any>} a copy: deleting keys would make a slow, large object of it */
  const attributes = {};
  for (const key of Object.keys(record)) {
    if (DROPPED.has(key) || key === messageKey || (thrown && key === errorKey) || (key === 'name' && record.name === name)) continue;
    attributes[key] = record[key];
  }
  if (thrown) Object.assign(attributes, exceptionAttributes(error));
  emit(name, severityOf(level), record[messageKey] ?? error?.message ?? '', attributes);
}

module.exports = { PinoAdapter };
