// Ids that are made on the device, for tasks and for requests.

let time = 0;
let count = 0;

/**
 * Make a UUIDv7 (RFC 9562). Those made here sort in the order in which they were made, also
 * within a millisecond and when the clock is set back.
 */
export function newId() {
  // Not crypto.randomUUID(), which pages without TLS do not have.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const view = new DataView(bytes.buffer);
  const now = Date.now();
  if (now > time) {
    time = now;
    count = view.getUint16(6) & 0x7ff;
  } else if (++count > 0xfff) {
    time += 1;
    count = 0;
  }
  view.setUint16(0, Math.floor(time / 2 ** 32));
  view.setUint32(2, time >>> 0);
  view.setUint16(6, 0x7000 | count);
  view.setUint8(8, 0x80 | (bytes[8] & 0x3f));
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/(.{8})(.{4})(.{4})(.{4})(.{12})/, "$1-$2-$3-$4-$5");
}
