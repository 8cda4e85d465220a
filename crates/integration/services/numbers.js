'use strict';
// Prints 0, 1, 2... in bursts until the folder has a file `enough`, then `end N`. What it prints goes to
// standard output and, each seventh number, to standard error as well.

const fs = require('node:fs');

let next = 0;
const timer = setInterval(() => {
  for (let count = 0; count < 50; count += 1) {
    console.log(String(next));
    if (next % 7 === 0) console.error(String(next));
    next += 1;
  }
  if (fs.existsSync('enough')) {
    console.log(`end ${next}`);
    clearInterval(timer);
    setInterval(() => {}, 1_000_000);
  }
}, 10);
