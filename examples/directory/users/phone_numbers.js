'use strict';
// The numbers belong to the phones service. A directory without numbers is still a directory: when phones
// does not answer, these say so by returning undefined, and never throw.

const { ask } = require('../lib/gateway');

/** Every known number as a Map from e-mail address, or undefined. */
async function all() {
  const phones = await answered('/phones', [200]);
  return phones && new Map(phones.map(({ email, phoneNumber }) => [email, phoneNumber]));
}

/** One person's number as a Map of at most one entry, or undefined. */
async function of(email) {
  const phone = await answered(`/phones/${encodeURIComponent(email)}`, [200, 404]);
  return phone && new Map(phone.phoneNumber ? [[email, phone.phoneNumber]] : []);
}

async function answered(path, statuses) {
  try {
    const { status, body, instance } = await ask(path);
    // A 404 counts only when it comes from phones: the gateway's own means that nothing is there to ask.
    if (statuses.includes(status) && instance) return body;
    console.error(`phones answered ${status}`);
  } catch (error) {
    console.error(`phones did not answer: ${error.message}`);
  }
  return undefined;
}

module.exports = { all, of };
