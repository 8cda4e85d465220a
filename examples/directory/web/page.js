'use strict';
// The directory as a page. It needs nothing from elsewhere: no script, no font, no image.

const ESCAPES = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

const STYLE = `
  :root { color-scheme: light dark; --ink: #1c2430; --paper: #fbfaf7; --faint: #5c6675; --line: #dcd8cf; --mark: #a33b20; }
  @media (prefers-color-scheme: dark) {
    :root { --ink: #e6e3dc; --paper: #171b21; --faint: #9aa4b2; --line: #343b46; --mark: #f09a7c; }
  }
  body { max-width: 40rem; margin: 3rem auto; padding: 0 1.25rem; color: var(--ink); background: var(--paper);
         font: 1.0625rem/1.6 system-ui, sans-serif; }
  h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 1.5rem; }
  table { width: 100%; border-collapse: collapse; }
  th { text-align: left; font-size: .875rem; font-weight: 600; color: var(--faint); }
  th, td { padding: .5rem .5rem .5rem 0; border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
  td + td { font-variant-numeric: tabular-nums; white-space: nowrap; }
  .notice { color: var(--mark); }
  footer { margin-top: 1.5rem; font-size: .875rem; color: var(--faint); }
`;

/** `answer` is what users said, `{users, instance}`, or undefined when it said nothing useful. */
function page(answer, webInstance) {
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="2">
<title>Directory</title>
<style>${STYLE}</style>
<h1>Directory</h1>
${answer ? table(answer.users) : '<p class="notice">The users service does not answer at the moment.</p>'}
<footer>
${answer ? `Users answered by <strong>${escape(answer.instance)}</strong>. ` : ''}Page made by ${escape(webInstance)}, again every 2 seconds.
</footer>
</html>
`;
}

function table(users) {
  return `<table>
<thead><tr><th scope="col">E-mail</th><th scope="col">Phone</th></tr></thead>
<tbody>
${users.map(row).join('\n')}
</tbody>
</table>`;
}

function row({ email, phoneNumber }) {
  const number = phoneNumber ? escape(phoneNumber) : '<span class="notice">not available</span>';
  return `<tr><td>${escape(email)}</td><td>${number}</td></tr>`;
}

function escape(text) {
  return String(text).replace(/[&<>"']/g, (character) => ESCAPES[character]);
}

module.exports = { page };
