/**
 * By what a file is known again after a reload: browsers tell neither its path nor its content
 * without reading it. The destination belongs to it, so that a file that is wanted at two places
 * is not taken for half sent to the other.
 */

/** A key that is the same for the same file on its way to the same place. */
export function fingerprintOf(
  file: { readonly name: string; readonly size: number; readonly lastModified?: number },
  endpoint: string,
  destination: string,
): string {
  const facts = [file.name, file.size, file.lastModified ?? 0, endpoint, destination]
  return facts.map((fact) => encodeURIComponent(fact)).join('/')
}
