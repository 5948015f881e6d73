/** What the server has written into the page about itself. */

/** URLs are relative to the page, so that it works below any path. */
export interface Facts {
  readonly uploads: string
  /** Of the status API, empty if it is off. */
  readonly api: string
  /** Bytes; null: no limit. */
  readonly maxSize: number | null
  /** As for `<input accept>`. */
  readonly accept: string
  /** The server asks who is there. */
  readonly acceptsToken: boolean
  /** Uploads may say where they want to go. */
  readonly hasDestinations: boolean
}

/** Reads them from the `data-*` attributes of this element. */
export function factsOf(element: HTMLElement): Facts {
  const { uploads, api, maxSize, extensions, types, acceptsToken, destinations } = element.dataset
  const wanted = listOf(extensions).map((extension) => `.${extension}`)
  return {
    uploads: uploads ?? 'files/',
    api: api ?? '',
    maxSize: maxSize ? Number(maxSize) : null,
    // Browsers do not know the media types of most extensions of science, so these decide alone.
    accept: (wanted.length > 0 ? wanted : listOf(types)).join(','),
    acceptsToken: acceptsToken === 'true',
    hasDestinations: destinations === 'true',
  }
}

function listOf(text: string | undefined): string[] {
  return (text ?? '').split(',').filter((word) => word !== '')
}
