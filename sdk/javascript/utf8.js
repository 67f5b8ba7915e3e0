// UTF-8 without TextEncoder, which the bots' JavaScript engine doesn't have.

export function encode(text) {
  const bytes = [];
  for (const character of text) {
    let code = character.codePointAt(0);
    if (code >= 0xd800 && code <= 0xdfff) {
      code = 0xfffd; // half of a pair
    }
    if (code < 0x80) {
      bytes.push(code);
    } else if (code < 0x800) {
      bytes.push(0xc0 | (code >> 6), 0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
      bytes.push(0xe0 | (code >> 12), 0x80 | ((code >> 6) & 0x3f), 0x80 | (code & 0x3f));
    } else {
      bytes.push(
        0xf0 | (code >> 18),
        0x80 | ((code >> 12) & 0x3f),
        0x80 | ((code >> 6) & 0x3f),
        0x80 | (code & 0x3f),
      );
    }
  }
  return Uint8Array.from(bytes);
}

/** What is no UTF-8 becomes U+FFFD. */
export function decode(bytes) {
  let text = "";
  let at = 0;
  while (at < bytes.length) {
    const first = bytes[at];
    const length = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    let code = length === 1 ? first : first & (0x7f >> length);
    let valid = length > 0 && at + length <= bytes.length;
    for (let next = 1; valid && next < length; next++) {
      valid = (bytes[at + next] & 0xc0) === 0x80;
      code = (code << 6) | (bytes[at + next] & 0x3f);
    }
    valid &&= code >= [0, 0, 0x80, 0x800, 0x10000][length] && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
    text += valid ? String.fromCodePoint(code) : "\ufffd";
    at += valid ? length : 1;
  }
  return text;
}
