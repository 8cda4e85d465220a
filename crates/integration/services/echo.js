'use strict';
// Says who answered, and for a POST what was sent. There is no handler for SIGTERM, so nothing but draining
// keeps its requests whole, and idle connections end after Node's usual five seconds.
//
//   GET /anything?ms=100   waits before the answer
//   GET /health            503 while the folder has a file `unhealthy`

const fs = require('node:fs');
const http = require('node:http');

const server = http.createServer((request, response) => {
  const url = new URL(request.url, 'http://echo');
  let body = '';
  request.setEncoding('utf8');
  request.on('data', (chunk) => (body += chunk));
  request.on('end', () => setTimeout(answer, Number(url.searchParams.get('ms') || 0)));

  function answer() {
    const sick = url.pathname === '/health' && fs.existsSync('unhealthy');
    response.writeHead(sick ? 503 : 200, {
      'Content-Length': Buffer.byteLength(body),
      'X-Instance': process.env.HYTHE_INSTANCE,
      'X-Version': process.env.VERSION || 'none',
      'X-Path': request.url,
    });
    response.end(body);
  }
});

server.listen(Number(process.env.PORT), '127.0.0.1', () => console.log(`listening on ${process.env.PORT}`));
