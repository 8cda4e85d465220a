'use strict';
// phones: whose number is which.
//
//   GET /phones            [{email, phoneNumber}, ...]
//   GET /phones/:email     {email, phoneNumber}, or 404

const { readJson } = require('../lib/json_file');
const { serve, Refusal } = require('../lib/service');

const FILE = process.env.PHONES_FILE || 'data/phones.json';
const PREFIX = '/phones';

async function one(email) {
  const phones = await readJson(FILE);
  const phone = phones.find((entry) => entry.email === email);
  if (!phone) throw new Refusal(404, 'No number for that address.');
  return phone;
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new Refusal(400, 'That address is not properly escaped.');
  }
}

serve({
  defaultPort: 3002,
  prefix: PREFIX,
  answer: ({ pathname }) => {
    if (pathname === PREFIX) return readJson(FILE);
    if (pathname.startsWith(`${PREFIX}/`)) return one(decoded(pathname.slice(PREFIX.length + 1)));
    return undefined;
  },
});
