// Evaluates an ecosystem file and writes {"value": ...} or {"error": "..."} to descriptor 0.
// Arguments: the most bytes of an answer, the file's absolute path.
(async () => {
  const fs = await import("node:fs");
  const { pathToFileURL } = await import("node:url");
  const process = globalThis.process ?? (await import("node:process")).default;
  const [most, file] = process.argv.slice(-2);

  // JSON has no form for these, and would lose them without a word.
  const keep = (_key, value) => {
    if (Object.prototype.toString.call(value) === "[object RegExp]") {
      return value.flags ? { $re: value.source, flags: value.flags } : { $re: value.source };
    }
    if (value === Infinity) return Number.MAX_SAFE_INTEGER;
    return typeof value === "bigint" ? String(value) : value;
  };

  const evaluate = async () => {
    const module = await import(pathToFileURL(file));
    let value = module.default ?? module;
    if (value.__esModule && value.default !== undefined) value = value.default;
    value = await (typeof value === "function" ? value() : value);
    const answer = JSON.stringify({ value }, keep);
    if (Buffer.byteLength(answer) > Number(most)) {
      throw new Error(`it exports more than ${most} bytes of JSON`);
    }
    return answer;
  };

  const { Buffer } = await import("node:buffer");
  const failed = (error) => JSON.stringify({ error: String(error?.stack ?? error).slice(0, 8000) });
  fs.writeFileSync("/dev/fd/0", await evaluate().catch(failed));
  process.exit(0);
})();
