'use strict';
// Bodies that have no end in sight.
//
//   GET  /down?bytes=N   so many bytes, no faster than they are taken
//   POST /up             says how many bytes came
//   GET  /trailers       a body, and fields after it
//   GET  /events         server-sent events: the first at once, one for each
//   POST /next

const http = require('node:http');
const { Readable } = require('node:stream');

const listeners = new Set();
let events = 0;

const pages = {
  '/down': (url, request, response) => Readable.from(zeros(Number(url.searchParams.get('bytes')))).pipe(response),
  '/up': (url, request, response) => {
    let bytes = 0;
    request.on('data', (chunk) => (bytes += chunk.length));
    request.on('end', () => response.end(String(bytes)));
  },
  '/trailers': (url, request, response) => {
    response.writeHead(200, { Trailer: 'X-Checksum' });
    response.write('counted');
    response.addTrailers({ 'X-Checksum': '7' });
    response.end();
  },
  '/events': (url, request, response) => {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' });
    response.write(`data: ${events}\n\n`);
    listeners.add(response);
    response.on('close', () => listeners.delete(response));
  },
  '/next': (url, request, response) => {
    events += 1;
    for (const listener of listeners) listener.write(`data: ${events}\n\n`);
    response.end();
  },
};

function* zeros(bytes) {
  const piece = Buffer.alloc(65536);
  for (; bytes > 0; bytes -= piece.length) yield bytes < piece.length ? piece.subarray(0, bytes) : piece;
}

http
  .createServer((request, response) => {
    const url = new URL(request.url, 'http://streams');
    const page = pages[url.pathname];
    if (page) page(url, request, response);
    else response.writeHead(404).end();
  })
  .listen(Number(process.env.PORT), '127.0.0.1');
