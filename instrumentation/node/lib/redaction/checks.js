'use strict';
// What a pattern alone cannot say: check digits, and whether a value looks made by a machine.

/** @typedef {[number, number]} Span offsets, the second one past the end */

const CARD_DIGITS_MIN = 14;
const CARD_DIGITS_MAX = 19;

/** Long, and with a digit, an equals sign, or a capital behind a small letter. @param {string} value @param {number} [minimum] */
function opaque(value, minimum = 8) {
  return value.length >= minimum && (/[0-9=]/.test(value) || /[A-Z]/.test(value.slice(Math.max(value.search(/[a-z]/), 0))) && /[a-z]/.test(value));
}

/** @param {string} digits */
function luhn(digits) {
  let total = 0;
  for (let place = 0; place < digits.length; place++) {
    let value = digits.charCodeAt(digits.length - 1 - place) - 48;
    if (place % 2) value = value * 2 - (value > 4 ? 9 : 0);
    total += value;
  }
  return total % 10 === 0;
}

/** @param {string} digits @param {[string, string, number[]][]} brands */
function isCard(digits, brands) {
  const branded = brands.some(([first, last, lengths]) => {
    const prefix = digits.slice(0, first.length);
    return lengths.includes(digits.length) && first <= prefix && prefix <= last;
  });
  return branded && luhn(digits);
}

/**
 * The card numbers in a run of digits, spaces and dashes, as offsets into it.
 * @param {string} run @param {[string, string, number[]][]} brands @param {number[][]} shapes
 * @returns {Span[]}
 */
function cards(run, brands, shapes) {
  const groups = [...run.matchAll(/[0-9]*(?:[ -]|$)/g)].map((m) => /** @type {Span} */ ([m.index, m.index + m[0].replace(/[ -]$/, '').length]));
  const sorted = [...shapes].sort((a, b) => b.length - a.length);
  /** @type {Span[]} */
  const found = [];
  for (let index = 0; index < groups.length;) {
    let taken = 1;
    for (const shape of [[groups[index][1] - groups[index][0]], ...sorted]) {
      const part = groups.slice(index, index + shape.length);
      const digits = shape.reduce((sum, n) => sum + n, 0);
      if (part.length !== shape.length || part.some(([a, b], i) => b - a !== shape[i])) continue;
      if (digits < CARD_DIGITS_MIN || digits > CARD_DIGITS_MAX) continue;
      const separators = new Set(part.slice(0, -1).map(([, b]) => run[b]));
      if (separators.size <= 1 && isCard(part.map(([a, b]) => run.slice(a, b)).join(''), brands)) {
        found.push([part[0][0], part[part.length - 1][1]]);
        taken = shape.length;
        break;
      }
    }
    index += taken;
  }
  return found;
}

/** Where the account number at the start of `run` ends, if it is one. @param {string} run @param {Record<string, number>} lengths */
function iban(run, lengths) {
  const wanted = lengths[run.slice(0, 2)];
  if (wanted === undefined) return undefined;
  let text = '';
  let end = 0;
  while (end < run.length && text.length < wanted) {
    if (run[end] !== ' ') text += run[end];
    end += 1;
  }
  if (text.length !== wanted || /[A-Za-z0-9]/.test(run[end] ?? '')) return undefined;
  let rest = 0;
  for (const c of text.slice(4) + text.slice(0, 4)) for (const digit of String(parseInt(c, 36))) rest = (rest * 10 + Number(digit)) % 97;
  return rest === 1 ? end : undefined;
}

module.exports = { opaque, cards, iban };
