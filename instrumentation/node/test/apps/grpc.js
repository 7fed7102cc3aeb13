'use strict';
// A gRPC service of a chain: logs, asks the next one, answers. No line of OpenTelemetry.

const grpc = require('@grpc/grpc-js');
const pino = require('pino');

const [name, following] = process.argv.slice(2);
const log = pino({ name: `grpc.${name}` });
const asIs = (/** @type {Buffer} */ bytes) => bytes;
const take = { path: '/shop.Stock/Take', requestStream: false, responseStream: false, requestSerialize: asIs, requestDeserialize: asIs, responseSerialize: asIs, responseDeserialize: asIs };
const Stock = grpc.makeGenericClientConstructor({ take: /** @type {any} */ (take) }, 'Stock');
const next = following ? /** @type {any} */ (new Stock(following, grpc.credentials.createInsecure())) : undefined;
const server = new grpc.Server();

server.addService({ take: /** @type {any} */ (take) }, {
  take(/** @type {any} */ call, /** @type {any} */ done) {
    log.trace('%s trace %s', name, call.request);
    log.debug('%s debug %s', name, call.request);
    log.info('%s %s', name, call.request);
    if (next) next.take(call.request, done);
    else done(null, call.request);
  },
});
server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (_error, port) => { process.stdout.write(`port ${port}\n`); });
