'use strict';
// A pino whose own output costs nothing, so that what is measured is ours.

module.exports = () => require('pino')({ name: 'bench' }, { write() {} });
