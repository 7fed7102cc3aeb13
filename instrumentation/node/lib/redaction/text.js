'use strict';
// Redaction of one text: detectors by value, then names and values in pairs, then SQL literals. ../../../redaction/README.md
// says how rules.json is read. Patterns hold no nested repetition, so that this backtracking engine is linear with them.

const { createHmac } = require('node:crypto');
const checks = require('./checks');
const { words } = require('./names');

/**
 * @typedef {import('./checks').Span} Span
 * @typedef {{spans: Span[], next: number}} Picked
 * @typedef {(text: string, match: RegExpExecArray) => Picked} Pick
 * @typedef {{name: string, needles: string[], pattern: RegExp, pick: Pick}} Detector
 */

const OPAQUE_PARAMETER_MIN = 12;
const HASH_HEX = 16;
const MASKED = /\[(?:REDACTED|HMAC:[0-9a-f]{16})\]/y;

/** @param {string} literal */
const escape = (literal) => literal.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');

/** @param {string} pattern @param {string} flags */
const compile = (pattern, flags) => new RegExp(pattern, flags);

/** @param {RegExp} pattern sticky or global @param {string} text @param {number} at */
function exec(pattern, text, at) {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

/** @param {RegExpExecArray} match @param {number} group @returns {Span} */
function spanOf(match, group) {
  return /** @type {Span} */ (/** @type {any} */ (match).indices[group] ?? [-1, -1]);
}

/** @param {string} text @param {Span[]} spans in order, without overlap @param {(secret: string) => string} mask */
function splice(text, spans, mask) {
  let out = '';
  let last = 0;
  for (const [start, end] of spans) {
    out += text.slice(last, start) + mask(text.slice(start, end));
    last = end;
  }
  return out + text.slice(last);
}

/** What stands in a secret's place. @param {'mask' | 'drop' | 'hash'} mode @param {string} text @param {string} key */
function maskOf(mode, text, key) {
  if (mode === 'drop') return () => '';
  if (mode === 'mask') return () => text;
  return (/** @type {string} */ secret) => `[HMAC:${createHmac('sha256', key).update(secret).digest('hex').slice(0, HASH_HEX)}]`;
}

class TextRules {
  /**
   * @param {any} rules rules.json, own patterns among its values
   * @param {import('./names').Names} names
   * @param {(secret: string) => string} mask
   * @param {(rule: any) => boolean} enabled
   * @param {readonly string[]} extra own names
   */
  constructor(rules, names, mask, enabled, extra = []) {
    this.names = names;
    this.mask = mask;
    const { pairs } = rules;
    const own = extra.map((name) => words(name)[0]).filter(Boolean);
    this.pair = compile(pairs.name, 'dgi');
    this.pairNeedles = compile([...pairs.needles, ...own].map(escape).join('|'), 'i');
    this.pairValues = pairs.values.map((/** @type {string} */ p) => compile(p, 'dyi'));
    this.quotedValues = pairs.quoted_values;
    this.lineNames = new Set(pairs.whole_line.names);
    this.lineValue = compile(pairs.whole_line.value, 'dy');
    this.keep = compile(pairs.keep, '');
    this.keepWords = new Set(pairs.keep_words);
    this.urlAlways = new Set(rules.url_names.always);
    this.urlOpaque = new Set(rules.url_names.opaque);
    this.sql = compile(rules.sql.literal, 'g');
    this.sqlReplacement = rules.sql.replacement;
    this.literal = /'((?:[^'\\]|\\[\s\S])*)/dg;
    this.brands = rules.card.brands;
    this.shapes = rules.card.groups;
    this.iban = rules.iban.lengths;
    const on = rules.values.filter(enabled);
    /** @type {Detector[]} */
    this.detectors = on.map((/** @type {any} */ rule) => this.#detector(rule));
    const needles = [...pairs.needles, ...own, ...on.flatMap((/** @type {any} */ rule) => rule.needles ?? [])];
    const parameters = [...this.urlAlways, ...this.urlOpaque].map(escape).join('|');
    const bare = on.filter((/** @type {any} */ rule) => !rule.needles?.length).map((/** @type {any} */ rule) => rule.trigger ?? rule.pattern);
    this.trigger = compile([...shortest(needles).map(escape), `(?:^|[?&])(?:${parameters})=`, ...bare].map((p) => `(?:${p})`).join('|'), 'i');
  }

  /** Whether any rule could match: one search, for the clean many. @param {string} text */
  suspicious(text) {
    return this.trigger.test(text);
  }

  /**
   * The text without its secrets; the names of the rules that matched are added to `found`.
   * @param {string} text @param {Set<string>} found @param {boolean} [query] whether the text is a query string without its mark
   */
  redact(text, found, query = false) {
    let out = text;
    let lower = text.toLowerCase();
    for (const detector of this.detectors) {
      if (detector.needles.length && !detector.needles.some((needle) => lower.includes(needle))) continue;
      const spans = this.#detect(detector, out);
      if (spans.length) {
        found.add(detector.name);
        out = splice(out, spans, this.mask);
        lower = out.toLowerCase();
      }
    }
    if (query || out.includes('?') || this.pairNeedles.test(out)) {
      const spans = this.#pairs(out, query);
      if (spans.length) {
        found.add('key');
        out = splice(out, spans, this.mask);
      }
    }
    return out;
  }

  /** @param {Detector} detector @param {string} text @returns {Span[]} */
  #detect(detector, text) {
    const spans = [];
    let match;
    for (let at = 0; (match = exec(detector.pattern, text, at));) {
      const { spans: picked, next } = detector.pick(text, match);
      spans.push(...picked.filter(([start]) => !exec(MASKED, text, start)));
      at = next;
    }
    return spans;
  }

  /** A statement whose string literals are placeholders. @param {string} text @param {Set<string>} found */
  redactSql(text, found) {
    /** @type {Span[]} */
    const spans = [];
    if (text.includes("\\'")) {
      // Is the quote escaped or not? Servers differ, so nothing between the outer quotes stays.
      spans.push([text.indexOf("'"), text.lastIndexOf("'") + 1]);
    } else {
      for (const match of text.matchAll(this.sql)) {
        const start = text[match.index] === '=' ? text.indexOf('"', match.index) : match.index;
        spans.push([start, match.index + match[0].length]);
      }
    }
    if (spans.some(([a, b]) => text.slice(a, b) !== this.sqlReplacement)) found.add('sql');
    return spans.length ? splice(text, spans, () => this.sqlReplacement) : text;
  }

  /** @param {string} text @param {boolean} query @returns {Span[]} */
  #pairs(text, query) {
    /** @type {Span[]} */
    const spans = [];
    let match;
    for (let at = 0; (match = exec(this.pair, text, at));) {
      const [start, end] = spanOf(match, 1);
      const valueAt = match.index + match[0].length;
      at = end;
      const name = text.slice(start, end);
      const inUrl = start > 0 ? '?&'.includes(text[start - 1]) : query;
      const parameter = inUrl ? name.toLowerCase() : '';
      const always = this.names.sensitive(name) || this.urlAlways.has(parameter);
      if (!always && !this.urlOpaque.has(parameter)) continue;
      const span = this.#pairValue(text, valueAt, this.#wholeLine(name, text.slice(end, valueAt)));
      if (!span || (!always && !checks.opaque(text.slice(...span), OPAQUE_PARAMETER_MIN))) continue;
      spans.push(span);
      at = span[1];
    }
    return spans;
  }

  /** @param {string} name @param {string} separator */
  #wholeLine(name, separator) {
    if (!separator.includes(':')) return false;
    const parts = words(name);
    return this.lineNames.has(parts.slice(-2).join('')) || this.lineNames.has(parts.slice(-1).join(''));
  }

  /** @param {string} text @param {number} at @param {boolean} wholeLine @returns {Span | undefined} */
  #pairValue(text, at, wholeLine) {
    const last = this.pairValues.length - 1;
    for (let index = 0; index <= last; index++) {
      const unquoted = index === last;
      const match = exec(unquoted && wholeLine ? this.lineValue : this.pairValues[index], text, at);
      if (!match) continue;
      const [start, end] = spanOf(match, 1);
      const value = text.slice(start, end);
      if (!value || this.keep.test(index < this.quotedValues || unquoted ? value : text.slice(at, end))) return undefined;
      if (unquoted && this.keepWords.has(trimEnd(value, '.,:;!?)]}').toLowerCase())) return undefined;
      if (unquoted && wholeLine && this.keepWords.has(trimEnd(value.trim().split(/\s+/)[0] ?? '', '.,:;!?)').toLowerCase())) return undefined;
      return [start, end];
    }
    return undefined;
  }

  /** @param {any} rule @returns {Detector} */
  #detector(rule) {
    const group = rule.group ?? 1;
    const only = (/** @type {boolean} */ sure, /** @type {Span} */ span) => ({ spans: sure ? [span] : [], next: span[1] });
    /** @type {Record<string, Pick>} */
    const picks = {
      '': (_, m) => only(true, spanOf(m, group)),
      opaque: (_, m) => only(checks.opaque(m[group]), spanOf(m, group)),
      ends: (t, m) => only(!/^[A-Za-z0-9]/.test(t.charAt(spanOf(m, group)[1])), spanOf(m, group)),
      placeholder: (_, m) => only(!this.keep.test(m[group]), spanOf(m, group)),
      name: (_, m) => only(this.names.sensitive(m[1]) && !this.keep.test(m[group].replace(/^["']+|["']+$/g, '')), spanOf(m, group)),
      card: (t, m) => this.#pickCards(t, spanOf(m, 1)),
      iban: (t, m) => this.#pickIban(t, spanOf(m, 1)),
      columns: (t, m) => {
        const end = m.index + m[0].length;
        return m[1].split(',').some((column) => this.names.sensitive(column.trim())) ? this.#literals(t, end, -1) : { spans: [], next: end };
      },
      literals: (t, m) => this.#literals(t, m.index + m[0].length, t.indexOf('\n', m.index + m[0].length)),
    };
    return { name: rule.name, needles: rule.needles ?? [], pattern: compile(rule.pattern, `dg${rule.flags ?? ''}`), pick: picks[rule.check ?? ''] };
  }

  /** @param {string} text @param {Span} span @returns {Picked} */
  #pickCards(text, [start, end]) {
    if (/^[A-Za-z_]/.test(text.charAt(end))) return { spans: [], next: end };
    const found = checks.cards(text.slice(start, end), this.brands, this.shapes);
    return { spans: found.map(([a, b]) => [start + a, start + b]), next: end };
  }

  /** @param {string} text @param {Span} span @returns {Picked} */
  #pickIban(text, [start, end]) {
    const length = checks.iban(text.slice(start, end), this.iban);
    return length === undefined ? { spans: [], next: end } : { spans: [[start, start + length]], next: start + length };
  }

  /** Each quoted literal from `start` to `end` (-1: the text's). @param {string} text @param {number} start @param {number} end @returns {Picked} */
  #literals(text, start, end) {
    const stop = end < 0 ? text.length : end;
    /** @type {Span[]} */
    const spans = [];
    let at = start;
    let match;
    while (at <= text.length && (match = exec(this.literal, text, at)) && match.index < stop) {
      const span = spanOf(match, 1);
      if (span[1] > span[0] && !this.keep.test(match[1])) spans.push(span);
      at = match.index + match[0].length + 1;
    }
    return { spans, next: Math.max(stop, spans.length ? at : stop) };
  }
}

/** @param {string} text @param {string} characters */
function trimEnd(text, characters) {
  let end = text.length;
  while (end > 0 && characters.includes(text[end - 1])) end -= 1;
  return text.slice(0, end);
}

/** Needles that no other needle is part of: fewer to look for, same answer. @param {string[]} needles */
function shortest(needles) {
  return [...new Set(needles)].filter((needle) => !needles.some((other) => other !== needle && needle.includes(other)));
}

module.exports = { TextRules, maskOf };
