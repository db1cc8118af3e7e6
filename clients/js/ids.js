// Generate ids on the device, for tasks and for requests.

let lastTime = 0;
let counter = 0;

/**
 * Generate a UUIDv7 (RFC 9562). The ids sort in the order of their creation, even within a
 * millisecond and after the clock was set back.
 */
export function newId() {
  // crypto.randomUUID() does not exist on pages without TLS.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const view = new DataView(bytes.buffer);
  const now = Date.now();
  if (now > lastTime) {
    lastTime = now;
    counter = view.getUint16(6) & 0x7ff;
  } else if (++counter > 0xfff) {
    lastTime += 1;
    counter = 0;
  }
  view.setUint16(0, Math.floor(lastTime / 2 ** 32));
  view.setUint32(2, lastTime >>> 0);
  view.setUint16(6, 0x7000 | counter);
  view.setUint8(8, 0x80 | (bytes[8] & 0x3f));
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/(.{8})(.{4})(.{4})(.{4})(.{12})/, "$1-$2-$3-$4-$5");
}
