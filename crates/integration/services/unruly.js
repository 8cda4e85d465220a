'use strict';
// Answers like echo.js, and does harm to itself when it is asked to. It would end at SIGTERM by itself, if it could.
//
//   GET /leak   keeps 200 MiB
//   GET /hang   answers, and never does anything again

const http = require('node:http');

const kept = [];

const server = http.createServer((request, response) => {
  let body = '';
  request.setEncoding('utf8');
  request.on('data', (chunk) => (body += chunk));
  request.on('end', () => {
    if (request.url === '/leak') kept.push(Buffer.alloc(200 * 1024 * 1024, 1));
    response.writeHead(200, {
      'Content-Length': Buffer.byteLength(body),
      'X-Instance': process.env.HYTHE_INSTANCE,
    });
    response.end(body, () => {
      if (request.url === '/hang') for (;;);
    });
  });
});

process.on('SIGTERM', () => process.exit(0));
server.listen(Number(process.env.PORT), '127.0.0.1');
