'use strict';
// The package carries its own copy of what the repository keeps once: before packing it is put in, after packing it is taken out.

const fs = require('node:fs');
const path = require('node:path');

const here = path.join(__dirname, '..');
const COPIES = [
  [path.join(here, '..', 'redaction', 'rules.json'), path.join(here, 'lib', 'redaction', 'rules.json')],
  [path.join(here, '..', '..', 'LICENSE'), path.join(here, 'LICENSE')],
];

for (const [from, to] of COPIES) {
  if (process.argv[2] === '--remove') fs.rmSync(to, { force: true });
  else fs.copyFileSync(from, to);
}
