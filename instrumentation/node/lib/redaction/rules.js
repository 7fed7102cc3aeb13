'use strict';
// rules.json: beside this module in the package, in instrumentation/redaction of a checkout.

const fs = require('node:fs');
const path = require('node:path');

/** @type {any} */
let rules;

/** The rules that Python, Node and the receiver share. @returns {any} */
function sharedRules() {
  if (!rules) {
    const packed = path.join(__dirname, 'rules.json');
    const file = fs.existsSync(packed) ? packed : path.join(__dirname, '..', '..', '..', 'redaction', 'rules.json');
    rules = JSON.parse(fs.readFileSync(file, 'utf8'));
  }
  return rules;
}

module.exports = { sharedRules };
