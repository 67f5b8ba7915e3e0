// `Math.random` whose numbers follow from the message. The engine's own starts from a seed that was drawn while the bot was
// built: every message would see the same numbers.

import { getRandomU64 } from "wasi:random/random@0.2.0";

/** The generator's state: xoshiro128**, 32 bits each. Undefined before the first number of a call is asked for. */
let state;

function next() {
  if (!state) {
    // The higher half, whether the engine gives a number or a BigInt.
    const word = () => Math.floor(Number(getRandomU64()) / 0x100000000);
    state = Uint32Array.of(word(), word(), word(), word() | 1);
  }
  const result = Math.imul(rotate(Math.imul(state[1], 5), 7), 9) >>> 0;
  const shifted = state[1] << 9;
  state[2] ^= state[0];
  state[3] ^= state[1];
  state[1] ^= state[2];
  state[0] ^= state[3];
  state[2] ^= shifted;
  state[3] = rotate(state[3], 11);
  return result;
}

function rotate(value, bits) {
  return (value << bits) | (value >>> (32 - bits));
}

const built = Math.random;
let runs = false;

/** From now on `Math.random` asks the host, which isn't there while the bot is built. */
export function begin() {
  runs = true;
  state = undefined;
}

Math.random = () => (runs ? ((next() >>> 5) * 0x4000000 + (next() >>> 6)) / 0x20000000000000 : built());
