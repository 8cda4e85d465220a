// The app that is measured: it answers every request with the path that was asked for, and writes down when it began to
// listen, by the monotonic clock that all processes of a machine share.
const { appendFileSync } = require('node:fs');
const http = require('node:http');

module.exports = ({ port, journal, delay = 0, graceful = false }) => {
  const server = http.createServer((request, response) => {
    const answer = () => response.end(request.url);
    if (delay) setTimeout(answer, delay);
    else answer();
  });
  server.listen(port, () => appendFileSync(journal, `${process.pid} ${port} ${process.hrtime.bigint()}\n`));
  if (graceful) process.on('SIGINT', () => server.close(() => process.exit(0)));
};
