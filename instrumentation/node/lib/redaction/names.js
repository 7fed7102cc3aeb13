'use strict';
// Is a field's name a secret's name? Words, whatever their case and separators; cached.

const NAME_MAX = 128; // characters looked at, from the end: a longer "name" is text, and the cache stays small
const TERM_WORDS_MAX = 4;
const CACHE_MAX = 8192;

/** Cut a name into lower-case words; digits at a word's ends do not count. @param {string} name @returns {string[]} */
function words(name) {
  const spaced = name.slice(-NAME_MAX).replace(/([a-z0-9])([A-Z])|([A-Z]+)([A-Z][a-z])/g, (_, a, b, c, d) => (a ? `${a}_${b}` : `${c}_${d}`));
  return asciiLower(spaced).split(/[^a-z0-9]+/).map((part) => part.replace(/^[0-9]+|[0-9]+$/g, '')).filter(Boolean);
}

/** @param {string} text */
function asciiLower(text) {
  return text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}

class Names {
  /**
   * @param {any} rules `names` of rules.json @param {readonly string[]} extra more terms
   * @param {readonly string[]} allowed whole names that are never sensitive; both in any spelling
   */
  constructor(rules, extra = [], allowed = []) {
    const joined = (/** @type {string} */ name) => words(name).join('');
    this.exact = new Set(rules.exact);
    this.safe = new Set(rules.safe);
    this.safeLast = new Set(rules.safe_last);
    this.extra = new Set(extra.map(joined));
    this.terms = new Set([...rules.terms, ...this.extra]);
    this.last = new Set(rules.last);
    /** @type {string[]} */
    this.suffixes = rules.suffixes;
    this.allowed = new Set(allowed.map(joined));
    /** @type {Map<string, boolean>} */
    this.cache = new Map();
  }

  /** Whether a field of this name holds a secret. @param {string} name */
  sensitive(name) {
    let known = this.cache.get(name);
    if (known === undefined) {
      if (this.cache.size >= CACHE_MAX) this.cache.clear();
      known = this.#judge(name);
      this.cache.set(name.length > NAME_MAX ? name.slice(-NAME_MAX) : name, known);
    }
    return known;
  }

  /** @param {string} name */
  #judge(name) {
    const lower = name.toLowerCase();
    const parts = words(name);
    const whole = parts.join('');
    if (parts.length === 0 || this.allowed.has(whole)) return false;
    if (this.exact.has(lower) || this.extra.has(whole)) return true;
    const last = parts[parts.length - 1];
    if (this.safe.has(lower) || this.safeLast.has(last)) return false;
    if (this.last.has(last) || this.suffixes.some((suffix) => last.endsWith(suffix))) return true;
    for (let i = 0; i < parts.length; i++) {
      for (let j = i + 1; j <= Math.min(i + TERM_WORDS_MAX, parts.length); j++) {
        if (this.terms.has(parts.slice(i, j).join(''))) return true;
      }
    }
    return false;
  }
}

module.exports = { Names, words };
