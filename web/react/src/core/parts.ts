/**
 * In how many parallel parts a file goes. They help where one connection does not fill the network;
 * for small files the further requests cost more than they bring.
 */

const MIB = 1024 * 1024
const PER_PART = 64 * MIB
const MOST = 3

/** `wanted` parts at most (and never more than 3), of 64 MiB at least each. */
export function partCount(size: number, wanted: number, extensions: readonly string[]): number {
  if (!extensions.includes('concatenation')) return 1
  return Math.max(1, Math.min(MOST, Math.floor(wanted), Math.floor(size / PER_PART)))
}
